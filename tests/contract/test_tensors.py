"""The contract's facts hold together, and match what Triton and the client are given."""

from __future__ import annotations

from typing import get_type_hints

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boxwise_contract.options import OPTIONS, RequestOptions, Thresholds
from boxwise_contract.tensors import (
    DETECTIONS,
    DTYPES,
    FRAME,
    IMAGE,
    info_model,
    label_tensors,
    raw_model,
)

FRACTIONS = st.floats(0, 1, width=32)


def test_every_option_is_a_tensor_and_a_keyword() -> None:
    assert [option.name for option in OPTIONS] == list(get_type_hints(RequestOptions))


def test_every_tensor_has_a_type_and_a_meaning() -> None:
    every = [IMAGE, FRAME, *OPTIONS, *DETECTIONS, *label_tensors("breed", 5)]
    assert len({spec.name for spec in every}) == len(every)
    for spec in every:
        assert spec.datatype in DTYPES
        assert spec.meaning.endswith(".")


def test_names_are_those_of_version_1() -> None:
    """As written down in ARCHITECTURE.md; clients of any language depend on them."""
    assert [(spec.name, spec.datatype, spec.shape) for spec in (IMAGE, FRAME, *OPTIONS)] == [
        ("image", "UINT8", (-1,)),
        ("frame", "UINT8", (-1, -1, 3)),
        ("score_threshold", "FP32", (1,)),
        ("iou_threshold", "FP32", (1,)),
        ("max_detections", "INT32", (1,)),
        ("class_filter", "INT32", (-1,)),
    ]
    labels = label_tensors("breed", 5)
    assert [(spec.name, spec.datatype, spec.shape) for spec in (*DETECTIONS, *labels)] == [
        ("boxes", "FP32", (-1, 4)),
        ("scores", "FP32", (-1,)),
        ("class_ids", "INT32", (-1,)),
        ("image_size", "INT32", (2,)),
        ("breed_ids", "INT32", (-1, 5)),
        ("breed_scores", "FP32", (-1, 5)),
    ]
    assert (raw_model("street"), info_model("street")) == ("street_raw", "street_info")


@given(FRACTIONS, FRACTIONS, st.integers(1, 2**24))
def test_thresholds_come_out_as_they_went_in(score: float, iou: float, count: int) -> None:
    thresholds = Thresholds(score, iou, count)
    packed = thresholds.pack()
    assert (packed.dtype, packed.shape) == (np.float32, (3,))
    assert Thresholds.unpack(packed) == thresholds
