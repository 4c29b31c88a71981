"""Replies become arrays over the bytes they came with, and anything out of order is a sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from boxwise import ContractMismatch
from boxwise._response import arrays, text


def reply(*outputs: tuple[str, str, list[int], bytes]) -> pb.ModelInferResponse:
    message = pb.ModelInferResponse(model_name="street")
    for name, datatype, shape, content in outputs:
        message.outputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_output_contents.append(content)
    return pb.ModelInferResponse.FromString(message.SerializeToString())


@pytest.mark.parametrize("shape", [[0, 4], [0], [1, 4], [3], [100, 4], [2, 0]])
def test_arrays_have_the_shape_and_values_of_the_reply(shape: list[int]) -> None:
    boxes = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    ids = boxes.astype(np.int32)
    found = arrays(
        reply(("boxes", "FP32", shape, boxes.tobytes()), ("ids", "INT32", shape, ids.tobytes()))
    )
    assert list(found) == ["boxes", "ids"]
    assert (found["boxes"].dtype, found["ids"].dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(found["boxes"], boxes)
    np.testing.assert_array_equal(found["ids"], ids)


@given(st.lists(st.floats(width=32), max_size=50))
def test_every_float_arrives_bit_for_bit(values: list[float]) -> None:
    content = np.array(values, np.float32).tobytes()
    assert arrays(reply(("scores", "FP32", [len(values)], content)))["scores"].tobytes() == content


def test_an_array_is_a_read_only_view_of_the_reply() -> None:
    scores = arrays(reply(("scores", "FP32", [1], bytes(4))))["scores"]
    assert not scores.flags.owndata
    assert not scores.flags.writeable


def test_a_reply_without_outputs_has_no_arrays() -> None:
    assert arrays(reply()) == {}


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (("boxes", "FP32", [0, 4], bytes(4)), r"boxes: FP32 \[0, 4\] needs 0 bytes, got 4"),
        (("boxes", "FP32", [2, 4], bytes(16)), r"boxes: FP32 \[2, 4\] needs 32 bytes, got 16"),
        (("boxes", "UINT8", [1], bytes(1)), "boxes: expected one of FP32, INT32, got UINT8"),
        (("boxes", "FP64", [1], bytes(8)), "boxes: expected one of FP32, INT32, got FP64"),
    ],
)
def test_an_output_out_of_order_is_named(
    output: tuple[str, str, list[int], bytes], sentence: str
) -> None:
    with pytest.raises(ContractMismatch, match=sentence):
        arrays(reply(output))


def test_outputs_must_come_with_their_raw_contents() -> None:
    message = reply(("boxes", "FP32", [1], bytes(4)))
    del message.raw_output_contents[:]
    with pytest.raises(ContractMismatch, match="street returns 1 outputs but 0 raw contents"):
        arrays(message)


@pytest.mark.parametrize("written", ["", "{}", "Tasse à café, カップ"])
def test_text_is_read_without_its_length_prefix(written: str) -> None:
    content = len(written.encode()).to_bytes(4, "little") + written.encode()
    assert text(reply(("info", "BYTES", [1], content)), "info") == written


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (("other", "BYTES", [1], b"\0\0\0\0"), "street returns no 'info'"),
        (("info", "FP32", [1], bytes(4)), r"info: expected BYTES \[1\], got FP32"),
        (("info", "BYTES", [0], b""), r"info: expected BYTES \[1\], got BYTES \[0\]"),
        (("info", "BYTES", [1], b"\1\0\0\0\xff"), "info: expected text in UTF-8"),
    ],
)
def test_text_out_of_order_is_named(
    output: tuple[str, str, list[int], bytes], sentence: str
) -> None:
    with pytest.raises(ContractMismatch, match=sentence):
        text(reply(output), "info")
