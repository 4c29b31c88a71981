"""Each family's decoding in the graph against numpy written from the authors' description, on real
images.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from contract_support import decoders, heads
from contract_support.agreement import Decode, Outputs, assert_agrees, read_images
from contract_support.reference import Detections
from onnx import helper

from boxwise_export.export import running
from boxwise_export.pipeline import load_pipeline
from boxwise_export.plan import DetectorPlan, make_plan

NAMES = [f"kind {i}" for i in range(5)]
UNIT = {"mean": 0, "std": 255}


def detector_of(
    folder: Path,
    model: onnx.ModelProto | Path,
    decode: Decode,
    data: Path,
    least: int = 20,
    **keys: Any,
) -> DetectorPlan:
    """Export a detector and hold it against `decode` on eight photos."""
    weights = model if isinstance(model, Path) else folder / "model.onnx"
    if isinstance(model, onnx.ModelProto):
        onnx.save(model, weights)
    file = folder / "pipeline.yaml"
    keys = {"labels": NAMES, "max_detections": 1000, "nms": {"multi_label": True}} | keys
    file.write_text(yaml.safe_dump({"detector": {"weights": str(weights), **keys}}))
    pipeline = load_pipeline(file)
    plan = make_plan(pipeline, cores=2)
    assert plan.detector is not None
    with running(plan) as runner:
        assert (
            assert_agrees(plan.detector, runner, read_images(data), decode, least=least)
            >= 8 * least
        )
    return plan.detector


@pytest.mark.parametrize(
    ("family", "model", "decode"),
    [
        ("yolov5", heads.yolov5, decoders.yolov5),
        ("yolov8", heads.yolov8, decoders.yolov8),
        ("yolov10", heads.yolov10, decoders.yolov10),
        ("yolox", heads.yolox, decoders.yolox),
        ("yolox", lambda: heads.yolox(decoded=True), decoders.yolox_decoded),
        ("nanodet", heads.nanodet, decoders.nanodet_plus),
        ("retinanet", heads.retinanet, decoders.retinanet),
        ("fcos", heads.fcos, decoders.fcos),
        ("detr", heads.detr, decoders.detr),
        ("detr", lambda: heads.detr(softmax=False), decoders.rt_detr),
    ],
    ids=[
        *("yolov5", "yolov8", "yolov10", "yolox", "yolox-decoded", "nanodet-plus"),
        *("retinanet", "fcos", "detr", "rt-detr"),
    ],
)
def test_equals_its_description(
    tmp_path: Path,
    shared_data: Path,
    family: str,
    model: Callable[[], onnx.ModelProto],
    decode: Decode,
) -> None:
    # Five names for six columns: which one is no object has to be said.
    chosen = {"activation": "softmax", "background": "last"} if model is heads.detr else {}
    plan = detector_of(tmp_path, model(), decode, shared_data, normalize=UNIT, **chosen)
    assert plan.family == family
    assert plan.max_batch_size == 8


@pytest.mark.parametrize(
    ("model", "decode"),
    [
        (heads.yolov5, decoders.yolov5),
        (heads.yolox, decoders.yolox),
        (heads.yolov8, decoders.yolov8),
    ],
    ids=["yolov5", "yolox", "yolov8"],
)
def test_a_cell_gives_its_best_class_as_its_authors_predict_does(
    tmp_path: Path, shared_data: Path, model: Callable[[], onnx.ModelProto], decode: Decode
) -> None:
    plan = detector_of(
        tmp_path, model(), decoders.best_class(decode), shared_data, normalize=UNIT, nms={}
    )
    assert not plan.multi_label


def test_picodet(tmp_path: Path, shared_data: Path) -> None:
    """Level by level, named by Paddle: centres in the middle of a cell; those of NanoDet-Plus are
    at its corner.
    """

    def decode(outputs: Outputs, height: int, width: int) -> Detections:
        joined = [
            np.concatenate([outputs[name] for name in group], axis=1) for group in (scores, sides)
        ]
        return decoders.nanodet(
            {"scores": joined[0], "sides": joined[1]}, height, width, (8, 16, 32, 64)
        )

    model = heads.picodet()
    names = [output.name for output in model.graph.output]
    scores, sides = names[0::2], names[1::2]
    plan = detector_of(tmp_path, model, decode, shared_data, normalize=UNIT)
    assert (plan.family, plan.canvas.resize, plan.canvas.interpolation) == (
        "picodet",
        "stretch",
        "cubic",
    )
    assert any(note.startswith("family: picodet, since PaddlePaddle named") for note in plan.notes)


@pytest.mark.parametrize(
    ("extra", "kind"), [("masks", heads.yolov8_masks), ("keypoints", heads.yolov8_keypoints)]
)
def test_boxes_of_segmentation_and_pose_heads(
    tmp_path: Path, shared_data: Path, extra: str, kind: Callable[[], onnx.ModelProto]
) -> None:
    def decode(outputs: Outputs, height: int, width: int) -> Detections:
        return decoders.yolov8({"output0": outputs["output0"][:, : 4 + len(NAMES)]}, height, width)

    plan = detector_of(tmp_path, kind(), decode, shared_data, normalize=UNIT)
    assert plan.family == "yolov8"
    assert any(note.startswith(extra) and "are left out" in note for note in plan.notes)


@pytest.mark.parametrize("softmax", [False, True])
def test_ssd_with_anchors_of_a_file(tmp_path: Path, shared_data: Path, softmax: bool) -> None:
    anchors = heads.ssd_anchors()
    np.save(tmp_path / "anchors.npy", anchors)
    decode = decoders.ssd(anchors, softmax=softmax)
    keys = {"family": "ssd", "background": "first", "anchors": "anchors.npy", "normalize": UNIT}
    plan = detector_of(tmp_path, heads.ssd(softmax=softmax), decode, shared_data, **keys)
    assert (plan.family, plan.canvas.resize, plan.max_batch_size) == ("ssd", "stretch", 8)


def test_what_torchvision_ends_with(tmp_path: Path, shared_data: Path) -> None:
    """As many rows as there are objects, one image at a time."""
    plan = detector_of(
        tmp_path,
        heads.faster_rcnn(),
        decoders.faster_rcnn,
        shared_data,
        normalize=UNIT,
        family="faster_rcnn",
    )
    assert (plan.family, plan.max_batch_size) == ("faster_rcnn", 1)


def test_labels_that_count_from_0(tmp_path: Path, shared_data: Path) -> None:
    """torchvision's RetinaNet and FCOS give the same tensors;
    `family:` says that they are meant.
    """

    def decode(outputs: Outputs, height: int, width: int) -> Detections:
        return decoders.faster_rcnn({**outputs, "labels": outputs["labels"] + 1}, height, width)

    names = ["background", *NAMES]
    plan = detector_of(
        tmp_path,
        heads.faster_rcnn(),
        decode,
        shared_data,
        labels=names,
        normalize=UNIT,
        family="retinanet",
    )
    assert plan.family == "retinanet"


@pytest.mark.parametrize(
    ("model", "decode"),
    [
        (heads.yolov5, decoders.yolov5),
        (heads.yolox, decoders.yolox),
        (heads.yolov8, decoders.yolov8),
    ],
    ids=["yolov5", "yolox", "yolov8"],
)
def test_one_class(
    tmp_path: Path, shared_data: Path, model: Callable[[int], onnx.ModelProto], decode: Decode
) -> None:
    """[B, N, 6] of YOLOv5 and YOLOX has the columns of an end-to-end head, and is none."""
    plan = detector_of(
        tmp_path, model(1), decode, shared_data, least=5, labels=["thing"], normalize=UNIT
    )
    assert plan.family == model.__name__


def test_yolox_nano(tmp_path: Path, shared_data: Path) -> None:
    weights = shared_data / "models" / "yolox_nano_coco.onnx"
    plan = detector_of(tmp_path, weights, decoders.yolox, shared_data, least=1, labels="coco")
    assert (plan.family, plan.max_batch_size) == ("yolox", 8)


def test_nanodet_m(tmp_path: Path, shared_data: Path) -> None:
    weights = shared_data / "models" / "nanodet_m_coco.onnx"
    plan = detector_of(tmp_path, weights, decoders.nanodet, shared_data, least=1, labels="coco")
    assert (plan.family, plan.max_batch_size) == ("nanodet", 8)


def test_nanodet_m_in_one_output(tmp_path: Path, shared_data: Path) -> None:
    """The way newer exports give the same head."""
    model = onnx.load(shared_data / "models" / "nanodet_m_coco.onnx")
    # Three of scores, then three of distributions.
    names = [output.name for output in model.graph.output]
    model.graph.node.extend(
        helper.make_node("Concat", [names[level], names[level + 3]], [f"level {level}"], axis=2)
        for level in range(3)
    )
    model.graph.node.append(
        helper.make_node("Concat", [f"level {i}" for i in range(3)], ["output"], axis=1)
    )
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, 3549, 112])
    )

    def decode(outputs: Outputs, height: int, width: int) -> Detections:
        (rows,) = outputs.values()
        return decoders.nanodet({"scores": rows[..., :80], "sides": rows[..., 80:]}, height, width)

    plan = detector_of(tmp_path, model, decode, shared_data, least=1, labels="coco")
    assert plan.family == "nanodet"


def corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], axis=-1
    )


def expected_of_generic(outputs: Outputs, height: int, width: int) -> Detections:
    """The network's own boxes, before they were put into another format."""
    size = np.float32([width, height] * 2)
    return decoders.found(
        zip(corners(outputs["own_boxes"][0]) * size, outputs["own_scores"][0], strict=True)
    )


FORMATS = {
    "cxcywh": lambda net, boxes: boxes,
    "xyxy": lambda net, boxes: net.op("MatMul", boxes, TO_CORNERS),
    "yxyx": lambda net, boxes: net.op(
        "Gather", net.op("MatMul", boxes, TO_CORNERS), np.int64([1, 0, 3, 2]), axis=-1
    ),
    "xywh": lambda net, boxes: net.op("MatMul", boxes, TO_TOP_LEFT),
}
TO_CORNERS = np.float32([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
TO_TOP_LEFT = np.float32([[1, 0, 0, 0], [0, 1, 0, 0], [-0.5, 0, 1, 0], [0, -0.5, 0, 1]])


@pytest.mark.parametrize("units", ["fraction", "pixels"])
@pytest.mark.parametrize("box_format", FORMATS)
def test_generic_boxes_in_every_format(
    tmp_path: Path, shared_data: Path, box_format: str, units: str
) -> None:
    def shape(net: heads.Net, boxes: str, scores: str) -> dict[str, str]:
        given = FORMATS[box_format](net, boxes)
        if units == "pixels":
            given = net.op("Mul", given, np.float32(net.side))
        return {"scores": scores, "where": given, "own_boxes": boxes, "own_scores": scores}

    plan = detector_of(
        tmp_path,
        heads.boxes_and_scores(shape),
        expected_of_generic,
        shared_data,
        family="generic",
        tensors={"boxes": "where", "scores": "scores", "box_format": box_format, "units": units},
        canvas={"resize": "stretch"},
        normalize=UNIT,
    )
    assert plan.family == "generic"


@pytest.mark.parametrize("batched", [True, False])
def test_generic_boxes_with_one_class_each(
    tmp_path: Path, shared_data: Path, batched: bool
) -> None:
    def shape(net: heads.Net, boxes: str, scores: str) -> dict[str, str]:
        best = net.op("ReduceMax", scores, axes=[2], keepdims=0)
        kind = net.op("ArgMax", scores, axis=2, keepdims=0)
        outputs = {"boxes": net.op("MatMul", boxes, TO_CORNERS), "scores": best, "classes": kind}
        if not batched:
            outputs = {
                name: net.op("Squeeze", tensor, np.int64([0])) for name, tensor in outputs.items()
            }
        return outputs | {"own_boxes": boxes, "own_scores": scores}

    def decode(outputs: Outputs, height: int, width: int) -> Detections:
        scores = outputs["own_scores"]
        best = np.where(scores == scores.max(axis=2, keepdims=True), scores, 0)
        return expected_of_generic({**outputs, "own_scores": best}, height, width)

    tensors = {"boxes": "boxes", "scores": "scores", "classes": "classes", "units": "fraction"}
    plan = detector_of(
        tmp_path, heads.boxes_and_scores(shape), decode, shared_data,
        family="generic", tensors=tensors, canvas={"resize": "stretch"}, normalize=UNIT,
    )  # fmt: skip
    assert plan.max_batch_size == (8 if batched else 1)
