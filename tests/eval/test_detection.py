"""Figures of boxes, on cases that are counted by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_eval.datasets.base import LabelledImage, labelled_image
from boxwise_eval.detection import DetectionFigures, evaluate
from boxwise_eval.run import Detections

SMALL, MEDIUM, LARGE = [0, 0, 10, 10], [100, 100, 150, 150], [200, 200, 400, 400]
Row = tuple[list[int], int, float]


def image(*rows: tuple[list[int], int], crowd: bool = False) -> LabelledImage:
    return labelled_image(
        Path("a.png"), [box for box, _ in rows], [c for _, c in rows], [crowd] * len(rows)
    )


def found(*rows: Row) -> Detections:
    boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
    return Detections(
        boxes,
        np.array([score for _, _, score in rows], np.float32),
        np.array([c for _, c, _ in rows], np.int64),
    )


def measured(
    images: list[LabelledImage], answers: list[Detections], most: int = 100
) -> DetectionFigures:
    return evaluate(images, answers, ["a", "b", "c"], working_threshold=0.5, max_detections=most)


def test_nothing_at_all() -> None:
    figures = measured([image()], [found()])
    assert set(figures.rows().values()) == {None}
    assert (figures.classes, figures.curve) == ({}, ())


def test_nothing_found() -> None:
    figures = measured([image((LARGE, 0))], [found()])
    assert (figures.map, figures.recall, figures.precision) == (0, 0, None)
    assert figures.matches[0].missed == (0,)


def test_nothing_there() -> None:
    figures = measured([image()], [found((LARGE, 0, 0.9))])
    assert (figures.map, figures.recall, figures.precision) == (None, None, 0)
    assert figures.matches[0].wrong == (0,)


def test_everything_right() -> None:
    rows = [(SMALL, 0), (MEDIUM, 1), (LARGE, 2)]
    figures = measured([image(*rows)], [found(*((box, c, 0.9) for box, c in rows))])
    assert list(figures.rows().values()) == pytest.approx([1] * 7)
    assert figures.classes == pytest.approx({"a": 1, "b": 1, "c": 1})
    assert figures.curve == pytest.approx((1,) * 101)


def test_a_wrong_class_is_wrong() -> None:
    figures = measured([image((LARGE, 0))], [found((LARGE, 1, 0.9))])
    assert (figures.map, figures.precision, figures.recall) == (0, 0, 0)


def test_sizes() -> None:
    figures = measured([image((SMALL, 0), (MEDIUM, 0), (LARGE, 0))], [found((MEDIUM, 0, 0.9))])
    assert (figures.ap_small, figures.ap_medium, figures.ap_large) == (0, pytest.approx(1), 0)


def test_the_working_threshold_is_for_precision_and_recall_alone() -> None:
    figures = measured(
        [image((MEDIUM, 0), (LARGE, 0))],
        [found((MEDIUM, 0, 0.9), (LARGE, 0, 0.4), (SMALL, 0, 0.3))],
    )
    assert figures.map == pytest.approx(1)
    assert (figures.precision, figures.recall) == (1, 0.5)
    assert figures.matches[0].missed == (1,)


def test_an_overlap_of_three_quarters() -> None:
    """IoU .75: a match at the 6 of 10 thresholds from .5 to .75, none above."""
    figures = measured([image(([0, 0, 100, 100], 0))], [found(([0, 0, 75, 100], 0, 0.9))])
    assert (figures.map, figures.map50) == (pytest.approx(0.6), pytest.approx(1))


def test_a_second_answer_to_one_object_is_wrong() -> None:
    figures = measured([image((LARGE, 0))], [found((LARGE, 0, 0.9), (LARGE, 0, 0.8))])
    assert figures.precision == 0.5
    assert (dict(figures.matches[0].right), figures.matches[0].wrong) == ({0: 0}, (1,))


def test_a_crowd_is_neither_here_nor_there() -> None:
    for answers in (found(), found((LARGE, 0, 0.9), (LARGE, 0, 0.8))):
        figures = measured([image((LARGE, 0), crowd=True)], [answers])
        assert (figures.precision, figures.recall, figures.matches[0].missed) == (None, None, ())


def test_only_so_many_count() -> None:
    rows = [([i * 20, 0, i * 20 + 10, 10], 0) for i in range(4)]
    answers = found(*((box, c, 0.9 - i / 10) for i, (box, c) in enumerate(rows)))
    assert measured([image(*rows)], [answers], most=2).map == pytest.approx(0.5, abs=0.01)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.floats(0.01, 1)), max_size=12),
    st.randoms(),
)
def test_every_box_is_counted_once(rows: list[tuple[int, int, float]], random: object) -> None:
    truth = [([x, 0, x + 10, 10], c) for c, x, _ in rows[::2]]
    answers = found(*(([x, 0, x + 10, 10], c, score) for c, x, score in rows))
    (match,) = measured([image(*truth)], [answers]).matches
    confident = {i for i, (_, _, score) in enumerate(rows) if np.float32(score) >= 0.5}
    assert set(match.right) | set(match.wrong) == confident
    assert len(match.right) + len(match.missed) == len(truth)
    assert not set(match.right.values()) & set(match.missed)
