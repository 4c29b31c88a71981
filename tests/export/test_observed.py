"""What is absurd about detections is warned of, and what is plausible is not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from boxwise import PipelineInfo, Result
from boxwise._info import DetectorInfo
from boxwise_export.observed import Observed, contact_sheet, warnings

INFO = PipelineInfo(1, "p", DetectorInfo(("a", "b"), 0.25, 0.5, 100), (), {}, {})
SIZE = (240, 320)
RANDOM = np.random.default_rng(0)


def observed(boxes: np.ndarray, scores: np.ndarray, class_id: int = 0) -> Observed:
    arrays = {
        "boxes": boxes.astype(np.float32).reshape(-1, 4),
        "scores": scores.astype(np.float32),
        "class_ids": np.full(len(scores), class_id, np.int32),
        "image_size": np.array(SIZE, np.int32),
    }
    return Observed("a.jpg", np.zeros((*SIZE, 3), np.uint8), Result.from_arrays(arrays, INFO))


def boxes(count: int, side: float = 40) -> np.ndarray:
    corners = RANDOM.uniform(0, 200, (count, 2))
    return np.concatenate([corners, corners + side], axis=1)


def said(*each: Observed, most: int = 100) -> str:
    return "; ".join(warnings(each, 0.25, most))


NOTHING = observed(np.empty((0, 4)), np.empty(0))


def test_nothing_on_any_image() -> None:
    assert "nothing was found on any of 2 images" in said(NOTHING, NOTHING)


@pytest.mark.parametrize("count", [1, 5, 29])
def test_what_a_detector_finds(count: int) -> None:
    assert said(observed(boxes(count), RANDOM.uniform(0.3, 0.9, count)), NOTHING) == ""


def test_a_crowd_with_scores_of_its_own_is_plausible() -> None:
    assert said(observed(boxes(90), np.linspace(0.3, 0.95, 90))) == ""


def test_dozens_of_one_class_at_one_score() -> None:
    assert "30 or more boxes of one class with nearly one score on 1 of 2 images" in said(
        observed(boxes(60), np.full(60, 0.999)), NOTHING
    )


def test_boxes_that_fill_the_image() -> None:
    whole = np.tile([0.0, 0.0, 320.0, 240.0], (3, 1))
    assert "100% of the boxes fill the image" in said(observed(whole, RANDOM.uniform(0.3, 0.9, 3)))
    # A portrait.
    assert (
        said(observed(whole[:1], np.array([0.9])), observed(boxes(4), RANDOM.uniform(0.3, 0.9, 4)))
        == ""
    )


def test_boxes_that_are_points() -> None:
    assert "100% of the boxes are smaller than 2 pixels" in said(
        observed(boxes(4, side=1), RANDOM.uniform(0.3, 0.9, 4))
    )


def test_as_many_boxes_as_there_may_be() -> None:
    full = observed(boxes(50), np.linspace(0.3, 0.95, 50))
    assert "as many boxes as it may have (50)" in said(full, full, most=50)
    assert said(full, NOTHING, most=50) == ""


@pytest.mark.parametrize(("count", "size"), [(1, (320, 336)), (4, (1280, 336)), (5, (1280, 672))])
def test_the_sheet_has_a_tile_for_each_image(count: int, size: tuple[int, int]) -> None:
    with Image.open(
        io.BytesIO(contact_sheet([observed(boxes(3), np.full(3, 0.9))] * count))
    ) as sheet:
        assert sheet.size == size
