"""Non-maximum suppression, against a definition written pair by pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boxwise_runtime.nms import suppress


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """IoU by counting, in double precision."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def by_definition(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, threshold: float
) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(classes[i] != classes[j] or overlap(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


@st.composite
def candidates(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes on a coarse grid, so that equal scores, touching and equal boxes are common."""
    rows = draw(
        st.lists(
            st.tuples(
                *[st.integers(-4, 8)] * 2,
                *[st.integers(1, 6)] * 2,
                st.integers(1, 8),
                st.integers(0, 2),
            ),
            max_size=30,
        )
    )
    table = np.array(rows, np.float32).reshape(-1, 6)
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1)
    return boxes, table[:, 4] / 8, table[:, 5].astype(np.int32)


@given(candidates(), st.sampled_from([0.0, 0.31, 0.5, 0.77, 1.0]))
def test_equals_the_definition(
    given_candidates: tuple[np.ndarray, np.ndarray, np.ndarray], threshold: float
) -> None:
    boxes, scores, classes = given_candidates
    kept = suppress(boxes, scores, classes, threshold)
    assert kept.tolist() == by_definition(boxes, scores, classes, threshold)


def test_nothing_in_nothing_out() -> None:
    nothing = np.zeros(0, np.float32)
    assert (
        suppress(np.zeros((0, 4), np.float32), nothing, nothing.astype(np.int32), 0.5).tolist()
        == []
    )


def test_negative_coordinates_do_not_mix_classes() -> None:
    # Told apart by an offset of the largest coordinate alone, these two would meet.
    boxes = np.float32([[460, 460, 512, 512], [-50, -50, 10, 10]])
    assert suppress(boxes, np.float32([0.9, 0.8]), np.int32([0, 1]), 0.01).tolist() == [0, 1]


def test_the_best_come_first() -> None:
    boxes = np.float32([[i * 20, 0, i * 20 + 10, 10] for i in range(5)])
    scores = np.float32([0.1, 0.5, 0.3, 0.9, 0.2])
    assert suppress(boxes, scores, np.zeros(5, np.int32), 0.5).tolist() == [3, 1, 2, 4, 0]
