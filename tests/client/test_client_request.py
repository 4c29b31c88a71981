"""Requests on the wire are what tritonclient sends, without its copies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferInput
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc._utils import _get_inference_request

from boxwise import InvalidArgument
from boxwise._image import to_tensor
from boxwise._request import Tensor, infer_request, info_request, predict_request, varint

NUMPY = {"UINT8": np.uint8, "INT32": np.int32, "FP32": np.float32}


def as_tritonclient_sends(model: str, tensors: list[Tensor]) -> bytes:
    inputs = []
    for name, datatype, shape, payload in tensors:
        each = InferInput(name, list(shape), datatype)
        each.set_data_from_numpy(np.frombuffer(payload, NUMPY[datatype]).reshape(shape))
        inputs.append(each)
    request = _get_inference_request(
        model_name=model,
        inputs=inputs,
        model_version="",
        request_id="",
        outputs=None,
        sequence_id=0,
        sequence_start=False,
        sequence_end=False,
        priority=0,
        timeout=None,
        parameters=None,
    )
    return request.SerializeToString()


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    datatype = draw(st.sampled_from(sorted(NUMPY)))
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=3)))
    length = math.prod(shape) * np.dtype(NUMPY[datatype]).itemsize
    payload = draw(st.binary(min_size=length, max_size=length))
    return Tensor(draw(st.text(max_size=20)), datatype, shape, payload)


@given(st.text(max_size=200), st.lists(tensors(), max_size=5))
def test_a_request_is_byte_for_byte_what_tritonclient_sends(
    model: str, inputs: list[Tensor]
) -> None:
    assert b"".join(infer_request(model, inputs)) == as_tritonclient_sends(model, inputs)


@given(
    st.binary(max_size=300),
    st.none() | st.floats(width=32, allow_nan=False),
    st.none() | st.floats(width=32),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=200),
)
def test_options_arrive_as_they_were_given(
    content: bytes,
    score_threshold: float | None,
    iou_threshold: float | None,
    max_detections: int | None,
    class_filter: list[int] | None,
) -> None:
    given_options = {
        "score_threshold": None
        if score_threshold is None
        else np.array([score_threshold], np.float32),
        "iou_threshold": None if iou_threshold is None else np.array([iou_threshold], np.float32),
        "max_detections": None if max_detections is None else np.array([max_detections], np.int32),
        "class_filter": None if class_filter is None else np.array(class_filter, np.int32),
    }
    expected = {"image": np.frombuffer(content, np.uint8)} | {
        k: v for k, v in given_options.items() if v is not None
    }

    pieces = predict_request(
        "street",
        to_tensor(content),
        {
            "score_threshold": score_threshold,
            "iou_threshold": iou_threshold,
            "max_detections": max_detections,
            "class_filter": class_filter,
        },
    )
    request = pb.ModelInferRequest.FromString(b"".join(pieces))

    assert request.model_name == "street"
    assert [each.name for each in request.inputs] == list(expected)
    for each, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        assert list(each.shape) == list(expected[each.name].shape)
        np.testing.assert_array_equal(np.frombuffer(raw, NUMPY[each.datatype]), expected[each.name])


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**31 - 1, "ffffffff07")],
)
def test_varint(number: int, encoded: str) -> None:
    assert varint(number).hex() == encoded


def test_info_is_asked_for_without_inputs() -> None:
    request = pb.ModelInferRequest.FromString(b"".join(info_request("street")))
    assert request == pb.ModelInferRequest(model_name="street_info")


def test_an_array_goes_to_the_raw_ensemble_with_its_shape() -> None:
    frame = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    request = pb.ModelInferRequest.FromString(b"".join(predict_request("street", to_tensor(frame))))
    assert request.model_name == "street_raw"
    (entry,) = request.inputs
    assert (entry.name, entry.datatype, list(entry.shape)) == ("frame", "UINT8", [2, 3, 3])
    assert list(request.raw_input_contents) == [frame.tobytes()]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_detections": 2.5}, "max_detections: expected whole numbers that fit INT32, got 2.5"),
        (
            {"max_detections": 2**31},
            "max_detections: expected whole numbers that fit INT32, got 2147483648",
        ),
        (
            {"score_threshold": "high"},
            "score_threshold: expected numbers that fit FP32, got 'high'",
        ),
        ({"iou_threshold": 1e40}, "iou_threshold: expected numbers that fit FP32, got 1e+40"),
        (
            {"class_filter": ["cat"]},
            "class_filter: expected whole numbers that fit INT32, got ['cat']",
        ),
    ],
)
def test_an_argument_that_no_tensor_can_hold_is_named(
    options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        predict_request("street", to_tensor(b""), options)  # type: ignore[arg-type]
    assert str(caught.value) == sentence
    assert caught.value.code is None
