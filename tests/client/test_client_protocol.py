"""The messages are Triton's, and the .proto for other languages says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from tritonclient.grpc import service_pb2

import boxwise
from boxwise._protocol import _MESSAGES, messages

PROTO = Path(boxwise.__file__).with_name("inference.proto")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorProto:
    out = tmp_path_factory.mktemp("proto") / "inference.bin"
    assert (
        protoc.main(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name]) == 0
    )
    return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]


def test_the_proto_and_the_code_say_the_same(compiled: descriptor_pb2.FileDescriptorProto) -> None:
    ours = descriptor_pb2.FileDescriptorProto()
    messages().ModelInferRequest.DESCRIPTOR.file.CopyToProto(ours)

    def fields(
        file: descriptor_pb2.FileDescriptorProto,
    ) -> dict[str, list[tuple[str, int, int, int, str]]]:
        return {
            message.name: [(f.name, f.number, f.type, f.label, f.type_name) for f in message.field]
            for message in file.message_type
        }

    assert fields(compiled) == fields(ours)
    assert (compiled.package, compiled.syntax) == (ours.package, ours.syntax)


@pytest.mark.parametrize("name", sorted(_MESSAGES))
def test_names_numbers_and_types_are_triton_s(name: str) -> None:
    homes = (
        service_pb2,
        service_pb2.ModelInferRequest,
        service_pb2.ModelInferResponse,
    )  # it nests the tensors
    theirs = next(getattr(home, name) for home in homes if hasattr(home, name))
    known = {field.name: (field.number, field.type) for field in theirs.DESCRIPTOR.fields}
    for field in getattr(messages(), name).DESCRIPTOR.fields:
        assert known[field.name] == (field.number, field.type)
