"""How far apart two answers are, on answers whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_export.checkpoints.base import Detections
from boxwise_export.parity.compare import (
    DetectionDifference,
    box_iou,
    compare_detections,
    relative_difference,
)


def found(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, class_ids = zip(*rows, strict=True) if rows else ([], [], [])
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(class_ids, np.int64),
    )


def compared(expected: Detections, got: Detections) -> DetectionDifference:
    return compare_detections(expected, got, iou=0.99, score=1e-3, threshold=0.25)


ONE = ([10.0, 10.0, 60.0, 60.0], 0.9, 2)


@pytest.mark.parametrize(
    ("expected", "got", "counts", "agreement"),
    [
        (found(), found(), (0, 0, 0), 1.0),
        (found(ONE), found(), (1, 0, 0), 0.0),
        (found(), found(ONE), (0, 0, 1), 0.0),
        (found(ONE), found(ONE), (1, 1, 0), 1.0),
        (
            found(ONE),
            found(([11.0, 10.0, 61.0, 60.0], 0.9, 2)),
            (1, 0, 1),
            0.0,
        ),  # a pixel to the right
        (found(ONE), found((ONE[0], 0.9, 3)), (1, 0, 1), 0.0),  # another class
        (found(ONE), found((ONE[0], 0.902, 2)), (1, 0, 1), 0.0),  # another score
        (found(ONE, ONE), found(ONE), (2, 1, 0), 0.5),  # a partner is nobody else's
        (
            found((ONE[0], 0.2505, 2)),
            found(),
            (0, 0, 0),
            1.0,
        ),  # it may have fallen below the threshold
        (found(), found((ONE[0], 0.2505, 2)), (0, 0, 0), 1.0),
    ],
)
def test_pairs(
    expected: Detections, got: Detections, counts: tuple[int, int, int], agreement: float
) -> None:
    difference = compared(expected, got)
    assert (difference.expected, difference.matched, difference.extra) == counts
    assert difference.agreement == agreement


def test_each_is_paired_with_the_nearest() -> None:
    left, right = ([0.0, 0.0, 1000.0, 1000.0], 0.9, 0), ([1.0, 0.0, 1001.0, 1000.0], 0.9, 0)
    difference = compared(found(left, right), found(right, left))
    assert (difference.matched, difference.worst_iou) == (2, 1.0)


def test_images_add_up() -> None:
    total = compared(found(ONE), found(ONE)) + compared(found(ONE), found((ONE[0], 0.9005, 2)))
    assert (total.expected, total.matched, total.extra) == (2, 2, 0)
    assert total.worst_score == pytest.approx(0.0005, abs=1e-6)


@given(st.lists(st.tuples(*[st.floats(0, 50, width=32)] * 4), max_size=6))
def test_iou_is_symmetric_and_a_fraction(corners: list[tuple[float, float, float, float]]) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in corners], np.float32).reshape(-1, 4)
    overlaps = box_iou(boxes, boxes)
    np.testing.assert_allclose(overlaps, overlaps.T)
    assert ((overlaps >= 0) & (overlaps <= 1 + 1e-9)).all()
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    np.testing.assert_allclose(np.diag(overlaps)[has_area], 1)


def test_iou_by_hand() -> None:
    overlap = box_iou(
        np.float32([[0, 0, 2, 2]]), np.float32([[1, 1, 3, 3], [2, 2, 3, 3], [5, 5, 5, 9]])
    )
    np.testing.assert_allclose(overlap, [[1 / 7, 0, 0]])


def test_the_worst_output_is_named() -> None:
    expected = {"small": np.float32([1, 2]), "large": np.float32([100, 200])}
    got = {"small": np.float32([1, 2.2]), "large": np.float32([100, 201])}
    worst, where = relative_difference(expected, got)
    assert (worst, where) == (pytest.approx(0.2 / 5**0.5, abs=1e-6), "small")
    assert relative_difference(expected, got | {"small": np.zeros(3, np.float32)})[0] == float(
        "inf"
    )
    assert np.isnan(relative_difference(expected, got | {"small": np.float32([np.nan, 2])})[0])
