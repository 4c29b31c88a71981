"""Columns, rows, names and JSON of a result; the tables start with nothing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise import ContractMismatch, InvalidInput, Label, PipelineInfo, Result
from boxwise._image import to_tensor

IMAGE = to_tensor(np.zeros((64, 96, 3), np.uint8))


@pytest.fixture
def info(info_document: dict[str, Any]) -> PipelineInfo:
    return PipelineInfo.from_json(json.dumps(info_document))


@pytest.fixture
def result(outputs: dict[str, np.ndarray], info: PipelineInfo) -> Result:
    return Result.from_arrays(outputs, info, IMAGE)


def first(outputs: dict[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    """The outputs with their first n rows only."""
    return {name: array if name == "image_size" else array[:n] for name, array in outputs.items()}


def test_nothing_is_a_result(outputs: dict[str, np.ndarray], info: PipelineInfo) -> None:
    result = Result.from_arrays(first(outputs, 0), info, IMAGE)
    assert (len(result), list(result), bool(result)) == (0, [], False)
    assert (result.xyxy.shape, result.label_ids["imagenet"].shape) == ((0, 4), (0, 2))
    assert result.to_dict() == {"image_size": [64, 96], "detections": []}
    assert repr(result) == "<Result 0 in 96 x 64: nothing>"
    assert result.draw().size == (96, 64)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_rows_agree_with_columns(
    outputs: dict[str, np.ndarray], info: PipelineInfo, n: int
) -> None:
    result = Result.from_arrays(first(outputs, n), info, IMAGE)
    assert len(result) == len(result.detections) == n
    assert [detection.xyxy for detection in result] == [tuple(box) for box in result.xyxy.tolist()]
    assert [detection.confidence for detection in result] == result.confidence.tolist()
    assert [detection.class_id for detection in result] == result.class_id.tolist()


def test_names_come_from_the_server(result: Result) -> None:
    cup, cat = result
    assert (cup.class_name, cat.class_name) == ("cup", "cat")
    assert cup.labels == {"imagenet": (Label(2, "espresso", 0.875), Label(0, "mug", 0.125))}
    assert cup.best_label == Label(2, "espresso", 0.875)
    assert result[1] is cat


def test_labels_that_were_not_asked_for_are_left_out(result: Result) -> None:
    assert result[1].labels == {"imagenet": ()}
    assert result[1].best_label is None


def test_a_classifier_may_have_less_to_say_than_top_k(
    outputs: dict[str, np.ndarray], info: PipelineInfo
) -> None:
    outputs["imagenet_ids"][0] = [0, -1]
    assert Result.from_arrays(outputs, info, IMAGE)[0].labels == {
        "imagenet": (Label(0, "mug", 0.875),)
    }


def test_the_dictionary_is_the_documented_json(result: Result) -> None:
    assert json.loads(json.dumps(result.to_dict())) == {
        "image_size": [64, 96],
        "detections": [
            {
                "xyxy": [10.0, 20.0, 40.0, 60.0],
                "confidence": 0.75,
                "class_id": 1,
                "class_name": "cup",
                "labels": {
                    "imagenet": [
                        {"id": 2, "name": "espresso", "score": 0.875},
                        {"id": 0, "name": "mug", "score": 0.125},
                    ]
                },
            },
            {
                "xyxy": [1.0, 2.0, 3.0, 4.0],
                "confidence": 0.5,
                "class_id": 0,
                "class_name": "cat",
                "labels": {"imagenet": []},
            },
        ],
    }


@given(st.lists(st.floats(0, 1, width=32), max_size=20))
def test_scores_survive_json_exactly(scores: list[float]) -> None:
    n = len(scores)
    columns = {
        "boxes": np.zeros((n, 4), np.float32),
        "scores": np.array(scores, np.float32),
        "class_ids": np.zeros(n, np.int32),
        "image_size": np.array([64, 96], np.int32),
    }
    info = PipelineInfo(1, "street", None, (), {}, {})
    document = json.loads(json.dumps(Result.from_arrays(columns, info, IMAGE).to_dict()))
    assert (
        np.float32([each["confidence"] for each in document["detections"]]).tobytes()
        == columns["scores"].tobytes()
    )


def test_without_a_detector_the_one_row_is_the_image(
    info_document: dict[str, Any], outputs: dict[str, np.ndarray]
) -> None:
    info = PipelineInfo.from_json(json.dumps(info_document | {"detector": None}))
    columns = first(outputs, 1) | {"class_ids": np.array([-1], np.int32)}
    (detection,) = Result.from_arrays(columns, info, IMAGE)
    assert (detection.class_id, detection.class_name) == (-1, "image")
    assert detection.labels["imagenet"][0].name == "espresso"


def test_a_result_is_frozen(result: Result) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.image_size = (1, 1)  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        result[0].confidence = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"boxes": None}, "no output 'boxes', only scores, class_ids"),
        ({"imagenet_scores": None}, "no output 'imagenet_scores'"),
        (
            {"boxes": np.zeros((2, 5), np.float32)},
            r"boxes: expected shape \['any', 4\], got \[2, 5\]",
        ),
        ({"scores": np.zeros(3, np.float32)}, r"scores: expected shape \[2\], got \[3\]"),
        (
            {"class_ids": np.zeros((2, 1), np.int32)},
            r"class_ids: expected shape \[2\], got \[2, 1\]",
        ),
        (
            {"imagenet_ids": np.zeros((1, 2), np.int32)},
            r"imagenet_ids: expected shape \[2, 'any'\], got \[1, 2\]",
        ),
        (
            {"imagenet_scores": np.zeros((2, 1), np.float32)},
            r"imagenet_scores: expected shape \[2, 2\]",
        ),
        ({"image_size": np.zeros(3, np.int32)}, r"image_size: expected shape \[2\], got \[3\]"),
    ],
)
def test_outputs_out_of_order_are_named(
    outputs: dict[str, np.ndarray],
    info: PipelineInfo,
    change: dict[str, np.ndarray | None],
    sentence: str,
) -> None:
    changed = {name: array for name, array in (outputs | change).items() if array is not None}
    with pytest.raises(ContractMismatch, match=sentence):
        Result.from_arrays(changed, info, IMAGE)


def test_draws_on_another_image_only_of_the_same_size(result: Result) -> None:
    assert result.draw(np.full((64, 96), 255, np.uint8)).getpixel((80, 10)) == (255, 255, 255)
    with pytest.raises(
        InvalidInput, match="belongs to an image of 96 x 64 pixels, got one of 64 x 96"
    ):
        result.draw(np.zeros((96, 64, 3), np.uint8))
