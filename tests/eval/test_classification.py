"""Figures of labels, on cases that are counted by hand."""

from pathlib import Path

import numpy as np

from boxwise_eval.classification import figures, of_boxes, of_images
from boxwise_eval.datasets.base import labelled_image
from boxwise_eval.detection import Matches
from boxwise_eval.run import Detections

LABELS = ["minivan", "Egyptian cat", "cup", "car", "x", "y"]


def said(*rows: list[int]) -> Detections:
    n = len(rows)
    return Detections(
        np.zeros((n, 4), np.float32),
        np.ones(n, np.float32),
        np.zeros(n, np.int64),
        {"c": np.array(rows, np.int64)},
    )


def test_nothing() -> None:
    assert figures([], LABELS) is None


def test_top_1_top_5_and_confusion() -> None:
    pairs = [
        (0, np.int64([0, 1, 2, 3, 4])),
        (1, np.int64([0, 5, 4, 3, 1])),
        (2, np.int64([0, 1, 3, 4, 5])),
    ]
    found = figures(pairs, LABELS)
    assert found is not None
    assert (found.count, found.top1, found.top5) == (3, 1 / 3, 2 / 3)
    assert found.confusion == {
        ("minivan", "minivan"): 1,
        ("Egyptian cat", "minivan"): 1,
        ("cup", "minivan"): 1,
    }


def test_few_labels_have_no_top_5() -> None:
    found = figures([(0, np.int64([0, 1]))], LABELS)
    assert found is not None
    assert found.top5 is None


def test_matched_boxes_by_their_own_label_or_class() -> None:
    """Box 0 found nothing, 1 has a label of its own, 2 only its class, 3 was not asked, 4 is of no
    known label.
    """
    image = labelled_image(
        Path("a.png"),
        [[0, 0, 1, 1]] * 4,
        [0, 0, 0, 1],
        labels={"c": ["egyptian_cat", None, None, None], "d": ["x"] * 4},
    )
    match = Matches({1: 0, 2: 1, 3: 2, 4: 3}, (0,), ())
    answers = said([5, 5], [1, 0], [3, 0], [-1, -1], [2, 2])
    pairs = of_boxes("c", LABELS, [image], [answers], [match], ["car", "truck"])
    assert [(true, row.tolist()) for true, row in pairs] == [(1, [1, 0]), (3, [3, 0])]


def test_whole_pictures() -> None:
    images = [labelled_image(Path("a.png"), [], [i]) for i in (0, 1)]
    answers = [said([2, 0]), said([1, 0])]
    pairs = of_images("c", LABELS, images, answers, ["cup", "unknown"])
    assert [(true, row.tolist()) for true, row in pairs] == [(2, [2, 0])]
