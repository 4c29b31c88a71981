"""The stages as pure functions; what they are together is tested through the server."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from boxwise_contract.refusals import InvalidInput
from boxwise_runtime.canvas import Geometry
from boxwise_runtime.stages import Assemble, Crop, Info, Preprocess, Suppress, WholePicture

PREPROCESS = Preprocess(
    canvas_height=64,
    canvas_width=96,
    resize="letterbox",
    pad_value=114,
    interpolation="linear",
    color_order="rgb",
    class_count=3,
    score_threshold=0.25,
    iou_threshold=0.5,
    max_detections=10,
    max_pixels=10_000,
)
IDENTITY = np.array(Geometry(100, 100, 1, 1, 0, 0), np.float32)


def test_preprocess_of_a_frame() -> None:
    frame = np.full((10, 20, 3), 40, np.uint8)
    outputs = PREPROCESS({"raw_frame": frame, "class_filter": np.int32([2])})
    assert outputs["frame"] is frame
    assert outputs["canvas"].shape == (1, 64, 96, 3)
    assert outputs["geometry"].tolist() == pytest.approx([10, 20, 4.8, 4.8, 0, 8])
    assert outputs["thresholds"].tolist() == [0.25, 0.5, 10]
    assert outputs["class_filter"].tolist() == [2]


def test_a_large_jpeg_is_decoded_smaller_where_that_is_asked_for() -> None:
    """The boxes and the size of the reply are those of the whole image all the same."""
    image = np.zeros((80, 121, 3), np.uint8)
    image[:, 60:] = 200
    whole = replace(PREPROCESS, canvas_height=20, canvas_width=30)
    scaled = replace(whole, scaled_decoding=True)
    file = cv2.imencode(".jpg", image)[1].ravel()
    one, other = whole({"image": file}), scaled({"image": file})
    assert (one["frame"].shape, other["frame"].shape) == ((80, 121, 3), (20, 31, 3))
    assert one["geometry"].tolist() == other["geometry"].tolist()
    assert np.abs(one["canvas"].astype(int) - other["canvas"]).mean() < 4
    for inputs in ({"image": cv2.imencode(".png", image)[1].ravel()}, {"raw_frame": image}):
        assert scaled(inputs)["frame"].shape == (80, 121, 3)
    with pytest.raises(InvalidInput, match="image: empty"):
        scaled({"image": file[:0]})
    with pytest.raises(InvalidInput, match="image: missing"):
        scaled({})


def test_preprocess_refuses_before_it_decodes() -> None:
    with pytest.raises(InvalidInput, match="score_threshold"):
        PREPROCESS({"image": np.zeros(5, np.uint8), "score_threshold": np.float32([2])})
    with pytest.raises(InvalidInput, match="image: missing"):
        PREPROCESS({})
    with pytest.raises(InvalidInput, match=r"frame: 200 x 100 is 0\.0 megapixels; at most 0\.01"):
        PREPROCESS({"raw_frame": np.zeros((100, 200, 3), np.uint8)})


def suppressed(
    boxes: object, scores: object, classes: object, stage: Suppress | None = None, **changes: object
) -> dict[str, np.ndarray]:
    inputs = {
        "candidate_boxes": np.array([boxes], np.float32).reshape(1, -1, 4),
        "candidate_scores": np.array([scores], np.float32),
        "candidate_classes": np.array([classes], np.int32),
        "geometry": IDENTITY,
        "thresholds": np.float32([0.25, 0.5, 10]),
        "class_filter": np.zeros(0, np.int32),
    } | changes
    return (stage or Suppress(nms=True))(inputs)


@pytest.mark.parametrize(("class_agnostic", "kept"), [(False, [0.9, 0.8, 0.7]), (True, [0.9, 0.7])])
def test_class_agnostic_nms_suppresses_boxes_of_every_class(
    class_agnostic: bool, kept: list[float]
) -> None:
    stage = Suppress(nms=True, class_agnostic=class_agnostic)
    boxes = [[0, 0, 10, 10], [0, 0, 10, 11], [50, 50, 60, 60]]
    outputs = suppressed(boxes, [0.9, 0.8, 0.7], [1, 2, 1], stage)
    assert outputs["scores"] == pytest.approx(kept)
    # Ids stay the detector's.
    assert outputs["class_ids"].tolist() == ([1, 1] if class_agnostic else [1, 2, 1])


def test_no_candidates_give_a_well_formed_reply() -> None:
    outputs = suppressed([], [], [])
    assert outputs["boxes"].shape == (0, 4)
    assert outputs["scores"].shape == (0,)
    assert outputs["class_ids"].shape == (0,)
    assert outputs["image_size"].tolist() == [100, 100]


def test_a_score_at_the_threshold_counts_and_nan_does_not() -> None:
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    assert suppressed(boxes, [0.25, 0.2499, np.nan], [0, 0, 0])["scores"].tolist() == [0.25]


def test_boxes_over_the_edge_are_clipped_and_boxes_in_the_padding_dropped() -> None:
    boxes = [[-10, -10, 50, 50], [100, 0, 120, 20], [5, 5, 5, 9]]
    outputs = suppressed(boxes, [0.9, 0.8, 0.7], [0, 1, 2])
    assert outputs["boxes"].tolist() == [[0, 0, 50, 50]]


def test_class_filter_that_leaves_none() -> None:
    outputs = suppressed([[0, 0, 9, 9]], [0.9], [0], class_filter=np.int32([1]))
    assert outputs["boxes"].shape == (0, 4)


def test_a_detector_without_nms_keeps_every_box() -> None:
    boxes, scores = np.zeros((1, 2, 4), np.float32), np.float32([[0.9, 0.8]])
    boxes[..., 2:] = 10
    inputs = {
        "candidate_boxes": boxes,
        "candidate_scores": scores,
        "candidate_classes": np.zeros((1, 2), np.int32),
        "geometry": IDENTITY,
        "thresholds": np.float32([0.25, 0.5, 10]),
        "class_filter": np.zeros(0, np.int32),
    }
    assert len(Suppress(nms=False)(inputs)["boxes"]) == 2
    assert len(Suppress(nms=True)(inputs)["boxes"]) == 1


def test_crop_routes_by_class() -> None:
    frame, boxes = (
        np.zeros((20, 20, 3), np.uint8),
        np.float32([[0, 0, 5, 5], [5, 5, 9, 9], [1, 1, 4, 4]]),
    )
    class_ids = np.int32([7, 2, 7])
    assert Crop(8, 8, only=(7,))(frame, boxes, class_ids)[1].tolist() == [0, 2]
    assert Crop(8, 8)(frame, boxes, class_ids)[1].tolist() == [0, 1, 2]


def test_a_classifier_asked_about_no_box_gets_one_blank_crop() -> None:
    frame = np.ones((20, 20, 3), np.uint8)
    crops, rows = Crop(8, 6)(frame, np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
    assert crops.shape == (1, 8, 6, 3)
    assert rows.shape == (0,)


def test_every_classifier_gets_its_crops() -> None:
    stage = Suppress(
        nms=True,
        crops={"all": {"height": 4, "width": 4}, "few": {"height": 2, "width": 3, "only": (1,)}},
    )
    inputs = {
        "candidate_boxes": np.float32([[[0, 0, 10, 10], [20, 0, 30, 10]]]),
        "candidate_scores": np.float32([[0.9, 0.8]]),
        "candidate_classes": np.int32([[0, 1]]),
        "geometry": IDENTITY,
        "thresholds": np.float32([0.25, 0.5, 10]),
        "class_filter": np.zeros(0, np.int32),
        "frame": np.zeros((100, 100, 3), np.uint8),
    }
    outputs = stage(inputs)
    assert outputs["all_crops"].shape == (2, 4, 4, 3)
    assert outputs["all_rows"].tolist() == [0, 1]
    assert outputs["few_crops"].shape == (1, 2, 3, 3)
    assert outputs["few_rows"].tolist() == [1]


def test_assemble_puts_labels_at_their_rows() -> None:
    outputs = Assemble(("a", "b"))(
        {
            "rows": np.int32([0, 1, 2]),
            "a_rows": np.int32([2, 0]),
            "a_label_ids": np.int32([[10, 11], [20, 21]]),
            "a_label_scores": np.float32([[0.9, 0.1], [0.8, 0.2]]),
            "b_rows": np.zeros(0, np.int32),
            "b_label_ids": np.int32([[1]]),  # of the blank crop
            "b_label_scores": np.float32([[1]]),
        }
    )
    assert outputs["a_ids"].tolist() == [[20, 21], [-1, -1], [10, 11]]
    assert np.array_equal(outputs["a_scores"], np.float32([[0.8, 0.2], [0, 0], [0.9, 0.1]]))
    assert outputs["b_ids"].tolist() == [[-1]] * 3
    assert outputs["b_scores"].tolist() == [[0]] * 3


def test_the_whole_picture_is_one_box() -> None:
    stage = WholePicture(max_pixels=1000, crops={"a": {"height": 4, "width": 4}})
    outputs = stage({"raw_frame": np.zeros((10, 20, 3), np.uint8)})
    assert outputs["boxes"].tolist() == [[0, 0, 20, 10]]
    assert outputs["scores"].tolist() == [1]
    assert outputs["class_ids"].tolist() == [-1]
    assert outputs["image_size"].tolist() == [10, 20]
    assert outputs["a_crops"].shape == (1, 4, 4, 3)
    assert outputs["a_rows"].tolist() == [0]


def test_info_answers_with_its_document(tmp_path: Path) -> None:
    (tmp_path / "info.json").write_text('{"contract": 1}')
    assert Info(tmp_path)({})["info"].tolist() == [b'{"contract": 1}']
