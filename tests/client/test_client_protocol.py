"""The messages are Triton's, and the compiled ones are those of the .proto."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from tritonclient.grpc import service_pb2

import boxwise
from boxwise._protocol import messages

PROTO = Path(boxwise.__file__).with_name("inference.proto")
MESSAGES = sorted(messages().ModelInferRequest.DESCRIPTOR.file.message_types_by_name)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorProto:
    out = tmp_path_factory.mktemp("proto") / "inference.bin"
    assert (
        protoc.main(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name]) == 0
    )
    return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]


def test_the_compiled_messages_are_current(compiled: descriptor_pb2.FileDescriptorProto) -> None:
    ours = descriptor_pb2.FileDescriptorSet.FromString(PROTO.with_suffix(".binpb").read_bytes())
    assert list(ours.file) == [compiled], "inference.proto has changed: make proto"


@pytest.mark.parametrize("name", MESSAGES)
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
