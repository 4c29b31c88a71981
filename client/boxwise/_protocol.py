"""Triton's gRPC protocol: the paths of the calls, and the messages, as far as this client speaks
it.

`inference.proto` beside this file says the same for other languages; a test compares the two. The
classes live in a pool of their own, so that tritonclient's, which have the same names, can be
imported in the same process.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

_SERVICE = "/inference.GRPCInferenceService/"
INFER = _SERVICE + "ModelInfer"
READY = _SERVICE + "ModelReady"
LIVE = _SERVICE + "ServerLive"
SHM_REGISTER = _SERVICE + "SystemSharedMemoryRegister"
SHM_UNREGISTER = _SERVICE + "SystemSharedMemoryUnregister"

# message -> field -> its number and type; `*` repeats, `{}` maps from strings
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "InferParameter": {
        "bool_param": (1, "bool"),
        "int64_param": (2, "int64"),
        "string_param": (3, "string"),
        "double_param": (4, "double"),
        "uint64_param": (5, "uint64"),
    },
    "InferInputTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "int64*"),
        "parameters": (4, "InferParameter{}"),
    },
    "InferOutputTensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64*")},
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "InferParameter{}"),
        "inputs": (5, "InferInputTensor*"),
        "raw_input_contents": (7, "bytes*"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "InferParameter{}"),
        "outputs": (5, "InferOutputTensor*"),
        "raw_output_contents": (6, "bytes*"),
    },
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "SystemSharedMemoryRegisterRequest": {
        "name": (1, "string"),
        "key": (2, "string"),
        "offset": (3, "uint64"),
        "byte_size": (4, "uint64"),
    },
    "SystemSharedMemoryRegisterResponse": {},
    "SystemSharedMemoryUnregisterRequest": {"name": (1, "string")},
    "SystemSharedMemoryUnregisterResponse": {},
}


@cache
def messages() -> Any:
    """The classes of the messages by their names (`messages().ModelInferRequest`), made when first
    needed.

    `DecodeError` is what their `FromString` raises.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError

    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="boxwise/inference.proto", package="inference", syntax="proto3"
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, (number, kind) in fields.items():
            field = message.field.add(name=name, number=number, label=field_type.LABEL_OPTIONAL)
            of = kind.rstrip("*{}")
            if kind.endswith(("*", "}")):
                field.label = field_type.LABEL_REPEATED
            if kind.endswith("}"):
                entry = message.nested_type.add(name=f"{name.title()}Entry")
                entry.options.map_entry = True
                entry.field.add(
                    name="key",
                    number=1,
                    type=field_type.TYPE_STRING,
                    label=field_type.LABEL_OPTIONAL,
                )
                entry.field.add(
                    name="value",
                    number=2,
                    type_name=f".inference.{of}",
                    label=field_type.LABEL_OPTIONAL,
                )
                entry.field[1].type = field_type.TYPE_MESSAGE
                of = f"{message_name}.{name.title()}Entry"
            if of[0].isupper():
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".inference.{of}"
            else:
                field.type = field_type.Type.Value(f"TYPE_{of.upper()}")
        if message_name == "InferParameter":
            message.oneof_decl.add(name="parameter_choice")
            for field in message.field:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptors = {name: pool.FindMessageTypeByName(f"inference.{name}") for name in _MESSAGES}
    classes = {name: message_factory.GetMessageClass(each) for name, each in descriptors.items()}
    return SimpleNamespace(**classes, DecodeError=DecodeError)
