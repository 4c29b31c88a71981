"""ultralytics' YOLO, exported from model files and checkpoints, against ultralytics itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract_support.agreement import assert_finds
from contract_support.seeded import as_batch, assert_classifies, waken
from numpy.typing import NDArray
from torch import nn
from ultralytics import YOLO
from ultralytics.utils.nms import non_max_suppression

from boxwise_export.checkpoints import read_source
from boxwise_export.checkpoints.base import Detections
from boxwise_export.errors import ExportError
from boxwise_export.pipeline import Weights

SIDE = 320


def seeded(name: str, images: Any) -> Any:
    torch.manual_seed(0)
    yolo = YOLO(name)
    model = yolo.model.float()
    batch = as_batch(images, SIDE)
    head = model.model[-1]
    if yolo.task == "classify":
        waken(model, lambda: model(batch), {head.linear: (0.0, 2.0)})
        return yolo
    boxes, classes = (
        (head.one2one_cv2, head.one2one_cv3) if end_to_end(model) else (head.cv2, head.cv3)
    )
    if end_to_end(model):
        head.end2end = True
    # With one bin a side, what the layer gives is the distance itself, in cells.
    ends: dict[nn.Module, Any] = {
        each[-1]: (0.0, 1.0) if head.reg_max > 1 else (2.0, 0.5) for each in boxes
    }
    ends |= {each[-1]: (-4.5, 1.2) for each in classes}
    waken(model, lambda: model(batch), ends)
    return yolo


def end_to_end(model: Any) -> bool:
    return getattr(model.model[-1], "one2one_cv2", None) is not None


def finder(model: Any) -> Callable[..., Detections]:
    """ultralytics' own model, not fused, not in export mode, and its own post-processing."""
    if end_to_end(model):
        model.model[-1].end2end = True

    def find(canvas: NDArray[np.uint8], score: float, iou: float, most: int) -> Detections:
        pixels = torch.from_numpy(np.ascontiguousarray(canvas)).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            rows = model(pixels)[0]
        # A segmentation model gives prototypes beside them.
        rows = rows[0] if isinstance(rows, tuple) else rows
        settings = {
            "nc": len(model.names),
            "max_det": most,
            "multi_label": False,
            "end2end": end_to_end(model),
        }
        (found,) = non_max_suppression(rows, score, iou, **settings)
        values = found.numpy()
        return Detections(values[:, :4], values[:, 4], values[:, 5].astype(int))

    return find


def checkpoint(yolo: Any, file: Path, **train_args: Any) -> None:
    """Write what the trainer of ultralytics writes: the model itself in half precision, pickled."""
    torch.save({"model": copy.deepcopy(yolo.model).half(), "train_args": train_args}, file)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("yolov8n.yaml", "yolov8"),
        ("yolov9t.yaml", "yolov8"),
        ("yolo11n.yaml", "yolov8"),
        ("yolo12n.yaml", "yolov8"),
        ("yolov5n.yaml", "yolov8"),  # as ultralytics builds it, without anchors
        ("yolov10n.yaml", "yolov10"),
        ("yolo26n.yaml", "yolov10"),
        ("yolov8n-seg.yaml", "yolov8"),
        ("yolo11n-pose.yaml", "yolov8"),
        ("yolo26n-seg.yaml", "yolov10"),
        ("yolo26n-pose.yaml", "yolov10"),
    ],
)
def test_detector(
    name: str, family: str, images: Any, planned: Any, assert_tensorrt_reads: Any, save: Any
) -> None:
    model = seeded(name, images).model
    detector = {
        "weights": {"source": f"ultralytics:{name}", "file": save(model)},
        "max_detections": 300,
        "canvas": {"size": SIDE},
    }
    with planned(detector=detector) as (plan, runner):
        assert plan.detector.family == family
        assert plan.detector.labels == tuple(model.names.values())
        assert "AGPL" in plan.detector.source.licence
        assert plan.detector.max_batch_size == 8
        assert assert_finds(plan.detector, runner, images, finder(model)) >= 160
        assert_tensorrt_reads(plan)


def test_checkpoint(images: Any, planned: Any, tmp_path: Path) -> None:
    """A pickle is read when the user trusts it, and only then."""
    checkpoint(seeded("yolov8n.yaml", images), tmp_path / "best.pt")
    detector = {"weights": "best.pt", "max_detections": 300, "canvas": {"size": SIDE}}
    with pytest.raises(ExportError, match="trust_pickle: true"), planned(detector=detector):
        pass
    trusted = detector | {"weights": {"file": "best.pt", "trust_pickle": True}}
    with planned(detector=trusted) as (plan, runner):
        # It was saved in half precision, and is read as it was saved.
        assert (
            assert_finds(
                plan.detector, runner, images, finder(YOLO(tmp_path / "best.pt").model.float())
            )
            >= 160
        )


def test_the_size_is_that_of_the_training(tmp_path: Path) -> None:
    checkpoint(YOLO("yolov8n.yaml"), tmp_path / "best.pt", imgsz=256)
    source = read_source(Weights(file=tmp_path / "best.pt", trust_pickle=True), "weights", None)
    assert source.preprocessing.size == (256, 256)


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml", "yolov8n-cls.yaml"])
def test_weights_of_another_number_of_classes(name: str, tmp_path: Path) -> None:
    yolo = YOLO(name)
    model = type(yolo.model)(yolo.model.yaml, nc=5, verbose=False)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    weights = Weights(source=f"ultralytics:{name}", file=tmp_path / "weights.pth")
    labels = read_source(weights, "weights", (64, 64)).labels
    assert labels == ("0", "1", "2", "3", "4")


def test_a_model_file_alone_is_untrained_and_the_same_each_time() -> None:
    first, again = (
        read_source(Weights(source="ultralytics:yolov8n.yaml"), "weights", (64, 64))
        for _ in range(2)
    )
    assert "untrained" in first.origin
    assert first.digest == again.digest


def test_pixels_are_those_of_ultralytics(images: Any, planned: Any, save: Any) -> None:
    detector = {"weights": "ultralytics:yolov8n.yaml", "canvas": {"size": SIDE}}
    with planned(detector=detector) as (plan, runner):
        for image in images:
            canvas = runner.preprocess({"raw_frame": image})["canvas"].transpose(0, 3, 1, 2) / 255
            expected = plan.detector.source.prepare(image)
            assert np.abs(canvas - expected).mean() * 255 < 0.1


def test_classifier(images: Any, planned: Any, save: Any) -> None:
    model = seeded("yolov8n-cls.yaml", images).model
    weights = {"source": "ultralytics:yolov8n-cls.yaml", "file": save(model)}
    with planned(classifiers=[{"name": "kind", "weights": weights}]) as (plan, runner):
        (classifier,) = plan.classifiers
        assert classifier.crop.height == 224
        assert_classifies(classifier, runner, images, lambda pixels: model(pixels)[0])


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("yolo0n.yaml", "ultralytics cannot read it"),
        ("yolov8n-obb.yaml", "a model for the task 'obb', which is not served"),
    ],
)
def test_refusals(source: str, sentence: str) -> None:
    with pytest.raises(ExportError, match=sentence):
        read_source(Weights(source=f"ultralytics:{source}"), "weights", None)
