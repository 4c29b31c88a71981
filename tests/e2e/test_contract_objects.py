"""How many objects come back, which, and what each classifier says of which: counted on dots that
are known exactly.
"""

from __future__ import annotations

import numpy as np
import pytest
from contract_support.calls import Answer, Triton, assert_same, assert_well_formed
from contract_support.synthetic import CANVAS, Dots, make_dots, png
from numpy.typing import NDArray

DOTS = {"shade": 3, "reds": 1, "vivid": 3}
THOUSAND = {"shade": 3}
RED, GREEN, BLUE = range(3)


def rows_of(answer: Answer, dots: Dots) -> NDArray[np.intp]:
    """Which dot each row of an answer is, found by its place alone; every row is another dot."""
    by_place = {tuple(box): index for index, box in enumerate(dots.boxes.tolist())}
    rows = np.array([by_place[tuple(box)] for box in answer["boxes"].tolist()], np.intp)
    assert len(set(rows.tolist())) == len(rows)
    return rows


def assert_all_right(answer: Answer, dots: Dots, count: int) -> NDArray[np.intp]:
    """The best `count` dots, each with its own class, score and shade; returns which dot each row
    is.
    """
    rows = rows_of(answer, dots)
    assert len(rows) == count
    np.testing.assert_allclose(answer["scores"], np.sort(dots.scores)[::-1][:count], atol=1e-6)
    np.testing.assert_array_equal(answer["class_ids"], dots.class_ids[rows])
    np.testing.assert_allclose(answer["scores"], dots.scores[rows], atol=1e-6)
    shades = np.empty((count, 3))
    np.put_along_axis(shades, answer["shade_ids"].astype(int), answer["shade_scores"], axis=1)
    np.testing.assert_array_equal(np.rint(shades * 255), dots.colors[rows])
    return rows


@pytest.mark.parametrize(
    ("pipeline", "top_k", "objects", "returned"),
    [
        ("dots", DOTS, 0, 0),
        ("dots", DOTS, 1, 1),
        ("dots", DOTS, 2, 2),
        ("dots", DOTS, 100, 100),
        ("dots", DOTS, 101, 100),
        ("dots", DOTS, 1000, 100),
        ("thousand", THOUSAND, 0, 0),
        ("thousand", THOUSAND, 1, 1),
        ("thousand", THOUSAND, 999, 999),
        ("thousand", THOUSAND, 1000, 1000),
        ("thousand", THOUSAND, 1001, 1000),
        ("thousand", THOUSAND, 1500, 1000),
    ],
)
def test_as_many_objects_as_there_are_up_to_the_maximum(
    triton: Triton, pipeline: str, top_k: dict[str, int], objects: int, returned: int
) -> None:
    dots = make_dots(objects)
    answer = triton.predict(pipeline, png(dots.draw()))
    assert_well_formed(answer, returned, top_k, height=CANVAS, width=CANVAS)
    assert_all_right(answer, dots, returned)


@pytest.mark.parametrize(("maximum", "pipeline"), [(100, "dots"), (1000, "thousand")])
def test_one_more_than_the_maximum_loses_the_weakest_alone(
    triton: Triton, maximum: int, pipeline: str
) -> None:
    dots = make_dots(maximum + 1)
    rows = rows_of(triton.predict(pipeline, png(dots.draw())), dots)
    assert set(range(maximum + 1)) - set(rows.tolist()) == {maximum}


@pytest.mark.parametrize("asked", [1, 7, 99, 100])
def test_a_request_may_ask_for_fewer(triton: Triton, asked: int) -> None:
    dots = make_dots(150)
    answer = triton.predict("dots", png(dots.draw()), max_detections=asked)
    assert_well_formed(answer, asked, DOTS, height=CANVAS, width=CANVAS)
    assert_all_right(answer, dots, asked)


def test_the_score_threshold_of_a_request_keeps_what_reaches_it(triton: Triton) -> None:
    dots = make_dots(50)
    threshold = float(np.sort(dots.scores)[20])
    answer = triton.predict("dots", png(dots.draw()), score_threshold=threshold - 1e-4)
    assert_all_right(answer, dots, 30)
    answer = triton.predict("dots", png(dots.draw()), score_threshold=threshold + 1e-4)
    assert_all_right(answer, dots, 29)
    answer = triton.predict("dots", png(dots.draw()), score_threshold=1.0)
    assert_all_right(answer, dots, int((dots.scores == 1).sum()))


@pytest.mark.parametrize("kept", [[RED], [GREEN, BLUE], [BLUE, RED, GREEN], [RED, RED]])
def test_a_class_filter_keeps_its_classes(triton: Triton, kept: list[int]) -> None:
    dots = make_dots(30)
    rows = rows_of(triton.predict("dots", png(dots.draw()), class_filter=kept), dots)
    assert set(rows.tolist()) == set(np.flatnonzero(np.isin(dots.class_ids, kept)).tolist())


def test_a_class_filter_that_leaves_none_is_answered_with_no_rows(triton: Triton) -> None:
    dots = make_dots(30, classes=(RED, GREEN))
    answer = triton.predict("dots", png(dots.draw()), class_filter=[BLUE])
    assert_well_formed(answer, 0, DOTS, height=CANVAS, width=CANVAS)


def test_the_class_filter_comes_before_the_maximum(triton: Triton) -> None:
    dots = make_dots(90)
    only_blue = triton.predict("dots", png(dots.draw()), class_filter=[BLUE], max_detections=20)
    blue = np.flatnonzero(dots.class_ids == BLUE)
    assert (
        rows_of(only_blue, dots).tolist()
        == blue[np.argsort(-dots.scores[blue], kind="stable")][:20].tolist()
    )


def test_a_classifier_is_asked_about_its_own_classes_alone(triton: Triton) -> None:
    dots = make_dots(60)
    answer = triton.predict("dots", png(dots.draw()))
    rows = assert_all_right(answer, dots, 60)
    asked = dots.class_ids[rows] == RED
    assert 0 < asked.sum() < 60
    np.testing.assert_array_equal(answer["reds_ids"][~asked], -1)
    np.testing.assert_array_equal(answer["reds_scores"][~asked], 0)
    shades = np.exp(dots.colors[rows][asked] / 255)
    np.testing.assert_array_equal(answer["reds_ids"][asked, 0], RED)
    np.testing.assert_allclose(
        answer["reds_scores"][asked, 0], shades[:, RED] / shades.sum(axis=1), atol=1e-5
    )


def test_a_classifier_asked_about_no_box_answers_minus_one_for_each(triton: Triton) -> None:
    dots = make_dots(9, classes=(GREEN, BLUE))
    answer = triton.predict("dots", png(dots.draw()))
    assert_well_formed(answer, 9, DOTS, height=CANVAS, width=CANVAS)
    assert_all_right(answer, dots, 9)
    np.testing.assert_array_equal(answer["reds_ids"], -1)
    np.testing.assert_array_equal(answer["reds_scores"], 0)


def test_a_sigmoid_classifier_says_only_what_reaches_its_threshold(triton: Triton) -> None:
    dots = make_dots(100)
    answer = triton.predict("dots", png(dots.draw()))
    rows = assert_all_right(answer, dots, 100)
    scores = -np.sort(-1 / (1 + np.exp(-8 * dots.colors[rows] / 255)), axis=1)
    ids = np.argsort(-dots.colors[rows].astype(int), axis=1, kind="stable")
    reached = scores >= 0.99
    assert reached[:, 0].any()
    assert not reached[:, 0].all()
    np.testing.assert_array_equal(answer["vivid_ids"], np.where(reached, ids, -1))
    np.testing.assert_allclose(answer["vivid_scores"], np.where(reached, scores, 0), atol=1e-5)


def test_the_best_labels_come_first(triton: Triton) -> None:
    answer = triton.predict("dots", png(make_dots(100).draw()))
    assert (np.diff(answer["shade_scores"], axis=1) <= 0).all()
    assert (np.sort(answer["shade_ids"], axis=1) == [0, 1, 2]).all()


def test_objects_of_two_classes_may_share_a_box(triton: Triton) -> None:
    frame = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    frame[100:104, 200:204] = [250, 0, 150]
    answer = triton.predict("dots", png(frame))
    assert answer["boxes"].tolist() == [[200, 100, 204, 104]] * 2
    assert answer["class_ids"].tolist() == [RED, BLUE]
    assert answer["reds_ids"].tolist() == [[RED], [-1]]


def test_the_last_request_leaves_nothing_behind(triton: Triton) -> None:
    few, many = png(make_dots(3, seed=1).draw()), png(make_dots(100, seed=2).draw())
    alone = triton.predict("dots", few)
    triton.predict("dots", many, score_threshold=0.9, max_detections=50, class_filter=[RED])
    assert_same(triton.predict("dots", few), alone)


@pytest.mark.parametrize("model", ["dots", "dots_raw", "scaled", "thousand", "whole"])
def test_outputs_may_be_asked_for_alone(triton: Triton, model: str) -> None:
    frame = make_dots(5).draw(300, 300)
    request = (
        {"frame": frame}
        if model.endswith("_raw")
        else {"image": np.frombuffer(png(frame), np.uint8)}
    )
    answer = triton.infer(model, request)
    for name in answer:
        assert_same(triton.infer(model, request, [name]), {name: answer[name]})
