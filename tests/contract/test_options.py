"""What a request may ask for."""

import numpy as np
import pytest

from boxwise_contract.options import Thresholds, read_class_filter
from boxwise_contract.refusals import InvalidInput

DEFAULTS = Thresholds(score_threshold=0.25, iou_threshold=0.5, max_detections=100)


def test_what_is_left_out_is_the_default() -> None:
    assert DEFAULTS.read({}) == DEFAULTS


def test_what_is_asked_for_counts() -> None:
    asked = {
        "score_threshold": np.float32([0]),
        "iou_threshold": np.float32([1]),
        "max_detections": np.int32([1]),
    }
    assert DEFAULTS.read(asked) == Thresholds(0, 1, 1)


@pytest.mark.parametrize("name", ["score_threshold", "iou_threshold"])
@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, np.inf, -np.inf])
def test_thresholds_out_of_range(name: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=f"{name}: expected a number from 0 to 1, got "):
        DEFAULTS.read({name: np.float32([value])})


@pytest.mark.parametrize("value", [-1, 0, 101])
def test_max_detections_out_of_range(value: int) -> None:
    with pytest.raises(InvalidInput, match=f"max_detections: expected 1 to 100, .* got {value}"):
        DEFAULTS.read({"max_detections": np.int32([value])})


def test_class_filter() -> None:
    assert read_class_filter({}, 80).tolist() == []
    assert read_class_filter({"class_filter": np.int32([79, 0])}, 80).tolist() == [79, 0]


@pytest.mark.parametrize(
    ("asked", "classes", "message"),
    [
        ([], 80, "class_filter: empty"),
        ([3, 80], 80, "class_filter: expected class ids from 0 to 79, got 80"),
        ([-1], 80, "class_filter: expected class ids from 0 to 79, got -1"),
        ([0], 0, "class_filter: this pipeline has no detector"),
    ],
)
def test_wrong_class_filters(asked: list[int], classes: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_class_filter({"class_filter": np.array(asked, np.int32)}, classes)
