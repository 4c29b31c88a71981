"""Triton's gRPC protocol: the paths of the calls and the messages, as far as this client uses it.

`inference.binpb` is what protoc makes of `inference.proto` (`make proto`). The classes live in a
pool of their own, so that tritonclient's, which have the same names, can be imported in the same
process.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

_SERVICE = "/inference.GRPCInferenceService/"
INFER = _SERVICE + "ModelInfer"
READY = _SERVICE + "ModelReady"
LIVE = _SERVICE + "ServerLive"
SHM_REGISTER = _SERVICE + "SystemSharedMemoryRegister"
SHM_UNREGISTER = _SERVICE + "SystemSharedMemoryUnregister"


@cache
def messages() -> Any:
    """Return the message classes by name, `messages().ModelInferRequest`; created on first use.

    `DecodeError` is what their `FromString` raises.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError

    compiled = files("boxwise").joinpath("inference.binpb").read_bytes()
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(compiled).file
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{file.package}.{message.name}")
        )
        for message in file.message_type
    }
    return SimpleNamespace(**classes, DecodeError=DecodeError)
