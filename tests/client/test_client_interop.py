"""Results in other libraries' types and back: every column to the last bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from contract_support.results import INFO, assert_same_result, results
from hypothesis import given, settings

from boxwise import InvalidArgument, InvalidImage, Result, _interop
from boxwise._errors import BoxwiseError

COCO_IDS = [17, 47]  # cat, cup


@settings(deadline=None)  # the first one imports the library
@given(results())
def test_json_and_back(result: Result) -> None:
    assert_same_result(Result.from_json(result.to_json(), INFO), result)
    assert_same_result(Result.from_dict(json.loads(json.dumps(result.to_dict())), INFO), result)


@settings(deadline=None)  # the first one imports the library
@given(results())
def test_coco_and_back(result: Result) -> None:
    for categories in (None, COCO_IDS):
        rows = json.loads(json.dumps(result.to_coco(image_id=7, category_ids=categories)))
        assert {row["image_id"] for row in rows} <= {7}
        assert {row["category_id"] for row in rows} <= set(categories or (0, 1))
        assert_same_result(Result.from_coco(rows, INFO, result.image_size, categories), result)


@settings(deadline=None)  # the first one imports the library
@given(results())
def test_supervision_and_back(result: Result) -> None:
    detections = result.to_supervision()
    assert len(detections) == len(result)
    assert detections["class_name"].tolist() == [each.class_name for each in result]
    assert_same_result(Result.from_supervision(detections, INFO), result)


@settings(deadline=None)  # the first one imports the library
@given(results())
def test_pandas_and_back(result: Result) -> None:
    frame = result.to_pandas()
    assert len(frame) == len(result)
    assert frame["class_name"].tolist() == [each.class_name for each in result]
    assert_same_result(Result.from_pandas(frame, INFO), result)


def test_a_filter_of_another_library_comes_back(result: Result) -> None:
    detections = result.to_supervision()
    (cup,) = Result.from_supervision(detections[detections.class_id == 1], INFO)
    assert cup == result[0]
    frame = result.to_pandas()
    (cat,) = Result.from_pandas(frame[frame["class_name"] == "cat"], INFO)
    assert cat == result[1]


@pytest.fixture
def result() -> Result:
    columns: dict[str, Any] = {
        "boxes": np.array([[10.5, 20, 40, 60], [1, 2, 3, 4]], np.float32),
        "scores": np.array([0.75, 0.5], np.float32),
        "class_ids": np.array([1, 0], np.int32),
        "image_size": np.array([64, 96], np.int32),
        "drink_ids": np.array([[2, 0], [-1, -1]], np.int32),
        "drink_scores": np.array([[0.875, 0.125], [0, 0]], np.float32),
    }
    return Result.from_arrays(columns, INFO)


def test_the_columns_of_a_dataframe_have_names_to_read(result: Result) -> None:
    first = result.to_pandas().iloc[0]
    assert (first["x1"], first["y2"], first["confidence"]) == (10.5, 60, 0.75)
    assert (first["drink_label"], first["drink_label_2"], first["drink_score"]) == (
        "espresso",
        "mug",
        0.875,
    )
    assert result.to_pandas()["drink_label"].isna().tolist() == [False, True]


def test_without_its_size_an_image_s_boxes_are_refused(result: Result) -> None:
    detections, frame = result.to_supervision(), result.to_pandas()
    detections.metadata.clear()
    frame.attrs.clear()
    with pytest.raises(InvalidArgument, match=r"metadata\['image_size'\]"):
        Result.from_supervision(detections, INFO)
    with pytest.raises(InvalidArgument, match=r"attrs\['image_size'\]"):
        Result.from_pandas(frame, INFO)


def test_a_library_that_is_not_there_is_named() -> None:
    with pytest.raises(
        BoxwiseError, match="no_such_library is not installed: pip install no_such_library"
    ):
        _interop._import("no_such_library")


def test_crops_are_what_lies_in_the_boxes(result: Result) -> None:
    image = np.arange(64 * 96 * 3, dtype=np.uint8).reshape(64, 96, 3)
    first, second = result.crops(image)
    np.testing.assert_array_equal(np.asarray(first), image[20:60, 10:40])
    np.testing.assert_array_equal(np.asarray(second), image[2:4, 1:3])
    with pytest.raises(InvalidArgument, match="its image must be given"):
        result.crops()
    with pytest.raises(InvalidImage, match="belongs to an image of 96 x 64"):
        result.crops(image[:10])


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 0), (96, 64, 96, 64), (95.9, 63.9, 96, 64), (0, 0, 96, 64)]
)
def test_a_crop_has_a_pixel_at_least(result: Result, box: tuple[float, ...]) -> None:
    columns = {"boxes": np.array([box], np.float32), "scores": np.ones(1, np.float32)}
    columns |= {"class_ids": np.zeros(1, np.int32), "image_size": np.array([64, 96], np.int32)}
    columns |= {
        "drink_ids": np.full((1, 2), -1, np.int32),
        "drink_scores": np.zeros((1, 2), np.float32),
    }
    (crop,) = Result.from_arrays(columns, INFO).crops(np.zeros((64, 96, 3), np.uint8))
    assert 1 <= crop.width <= 96
    assert 1 <= crop.height <= 64
