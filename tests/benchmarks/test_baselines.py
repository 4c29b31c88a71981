"""What two of them found is the same, or what differs is said; and what a network gets of the
pixels.
"""

from __future__ import annotations

import numpy as np
import pytest

from boxwise_benchmarks.baselines.agreement import disagreement
from boxwise_benchmarks.baselines.base import Detections
from boxwise_benchmarks.baselines.tutorial_models.shared import as_network_input


def found(box: list[float], class_id: int = 2, label: int = 7, score: float = 0.8) -> Detections:
    return Detections(
        np.array([box], np.float32),
        np.array([score], np.float32),
        np.array([class_id], np.int32),
        np.array([[label, 1]], np.int32),
        np.array([[0.5, 0.2]], np.float32),
    )


NOTHING = Detections(
    *(np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0,), (0, 2), (0, 2)))
)
BOX = [10.0, 20.0, 110.0, 220.0]


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (NOTHING, "0 boxes, where ours has 1"),
        (found([10.0, 20.0, 112.0, 220.0]), "no box like our"),
        (found(BOX, class_id=3), "of class 2"),
        (found(BOX, label=8), "is labelled 8, ours 7"),
        (found(BOX, score=0.7), "scores 0.7000, ours 0.8000"),
    ],
)
def test_what_differs_is_said(theirs: Detections, sentence: str) -> None:
    assert sentence in (disagreement(found(BOX), theirs) or "")


@pytest.mark.parametrize(
    "both", [(NOTHING, NOTHING), (found(BOX), found([10.5, 20.0, 110.0, 219.5]))]
)
def test_what_is_the_same_is_not(both: tuple[Detections, Detections]) -> None:
    assert disagreement(*both) is None


@pytest.mark.parametrize("one", [NOTHING, found([0.1, 1 / 3, 5, 7])])
def test_what_is_found_survives_json(one: Detections) -> None:
    again = Detections.from_json(one.to_json(), top_k=2)
    for name, column in vars(one).items():
        np.testing.assert_array_equal(getattr(again, name), column)
        assert getattr(again, name).shape == column.shape


def test_pixels_become_the_input_of_a_network() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    values = as_network_input(pixels, [1, 1, 1], [2, 2, 2], "NCHW")
    np.testing.assert_allclose(values, (pixels.transpose(0, 3, 1, 2) - 1.0) / 2)
    np.testing.assert_array_equal(as_network_input(pixels, [0, 0, 0], [1, 1, 1], "NHWC"), pixels)
