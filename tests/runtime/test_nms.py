"""Non-maximum suppression, against a definition written pair by pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_runtime.nms import iou, suppress


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """IoU by counting, in double precision."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def by_definition(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, threshold: float, most: int) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(classes[i] != classes[j] or overlap(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept[:most]


@st.composite
def candidates(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes on a coarse grid, so that equal scores, touching and equal boxes are common."""
    rows = draw(
        st.lists(
            st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(0, 6)] * 2, st.integers(1, 8), st.integers(0, 2)),
            max_size=30,
        )
    )
    table = np.array(rows, np.float32).reshape(-1, 6)
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1)
    return boxes, table[:, 4] / 8, table[:, 5].astype(np.int32)


@given(candidates(), st.sampled_from([0.0, 0.3, 0.55, 0.95, 1.0]), st.integers(1, 31))
def test_equals_the_definition(
    given_candidates: tuple[np.ndarray, np.ndarray, np.ndarray], threshold: float, most: int
) -> None:
    boxes, scores, classes = given_candidates
    kept = suppress(boxes, scores, classes, threshold, most)
    assert kept.tolist() == by_definition(boxes, scores, classes, threshold, most)


def test_nothing_in_nothing_out() -> None:
    nothing = np.zeros(0, np.float32)
    assert suppress(np.zeros((0, 4), np.float32), nothing, nothing.astype(np.int32), 0.5, 10).tolist() == []


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 10, 10], 1.0),
        ([0, 0, 10, 5], 0.5),
        ([10, 0, 20, 10], 0.0),  # they touch
        ([5, 5, 15, 15], 25 / 175),
        ([3, 3, 3, 3], 0.0),  # of no area
    ],
)
def test_iou(box: list[float], expected: float) -> None:
    assert iou(np.float32([0, 0, 10, 10]), np.float32([box])) == pytest.approx([expected])


def test_iou_of_two_empty_boxes_is_zero() -> None:
    assert iou(np.float32([3, 3, 3, 3]), np.float32([[3, 3, 3, 3]])).tolist() == [0.0]
