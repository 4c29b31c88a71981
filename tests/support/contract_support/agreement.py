"""What the exported stages find, against what somebody else finds in the source's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxwise_export.checkpoints.base import Detections
from boxwise_export.parity.compare import box_iou
from boxwise_export.plan import DetectorPlan
from boxwise_runtime.pipeline_runner import PipelineRunner
from contract_support import reference

Outputs = Mapping[str, NDArray[np.float32]]
Decode = Callable[[Outputs, int, int], reference.Detections]
LEAST_DETECTIONS = 20


def read_images(data: Path, count: int = 8) -> list[NDArray[np.uint8]]:
    """Real images, RGB."""
    import cv2

    paths = sorted((data / "coco" / "images").glob("*.jpg"))[:count]
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]


def assert_agrees(
    plan: DetectorPlan,
    runner: PipelineRunner,
    images: Sequence[NDArray[np.uint8]],
    decode: Decode,
    *,
    iou: float = 0.5,
    least: int = LEAST_DETECTIONS,
) -> int:
    """Every detection of either is one of the other: same class, IoU >= 0.99, score within 1e-3.

    Args:
        plan: exported, with its source.
        runner: the exported stages.
        images: RGB uint8 [H, W, 3].
        decode: the source's outputs for one image, height and width of the canvas -> detections on
            the canvas.
        iou: threshold of the NMS.
        least: detections that each image must have; parity over nothing proves nothing.
    """
    assert runner.preprocess is not None
    compared = 0
    for image in images:
        request = runner.preprocess({"raw_frame": image})
        mean, std = (
            np.array(each, np.float32) for each in (plan.normalize.mean, plan.normalize.std)
        )
        given = ((request["canvas"].astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
        height, width = request["canvas"].shape[1:3]
        found = decode(plan.source.run(np.ascontiguousarray(given)), height, width)
        _, _, scale_x, scale_y, pad_x, pad_y = request["geometry"].tolist()
        shown = (found.boxes - [pad_x, pad_y, pad_x, pad_y]) / [scale_x, scale_y, scale_x, scale_y]
        shown = shown.clip(0, [image.shape[1], image.shape[0]] * 2)
        # The contract: what lies wholly in the padding is dropped before the NMS.
        seen = np.flatnonzero((shown[:, 2:] > shown[:, :2]).all(axis=1))
        found = reference.Detections(found.on_canvas, shown, found.scores, found.class_ids)[seen]
        # A threshold between two candidates: far enough from both that rounding moves none of them
        # over it.
        score = _between(found.scores)
        found = reference.suppress(
            found, score, iou if plan.reading.nms else 1.0, plan.spec.max_detections
        )
        answer = runner(
            {
                "raw_frame": image,
                "score_threshold": np.float32([score]),
                "iou_threshold": np.float32([iou]),
            }
        )
        assert len(found.scores) >= least, f"{len(found.scores)} detections"
        got = Detections(answer["boxes"], answer["scores"], answer["class_ids"])
        _assert_same(got, Detections(found.boxes, found.scores, found.class_ids), "source")
        assert len(answer["scores"]) == len(found.scores)
        compared += len(found.scores)
    return compared


Find = Callable[[NDArray[np.uint8], float, float, int], Detections]


def assert_finds(
    plan: DetectorPlan,
    runner: PipelineRunner,
    images: Sequence[NDArray[np.uint8]],
    find: Find,
    *,
    iou: float = 0.5,
    least: int = LEAST_DETECTIONS,
) -> int:
    """What the exported stages find is what a framework finds by itself: same class, IoU >= 0.99,
    score within 1e-3.

    Args:
        plan: exported.
        runner: the exported stages.
        images: RGB uint8 [H, W, 3]; cut to the canvas's shape, so that nothing lies in padding.
        find: canvas in RGB, score threshold, IoU threshold, the most -> the framework's detections
            on it, best first.
        iou: threshold of the NMS.
        least: detections that each image must have; parity over nothing proves nothing.

    Returns:
        How many were compared.
    """
    assert runner.preprocess is not None
    compared = 0
    for whole in images:
        image = _shaped(whole, plan.canvas.height, plan.canvas.width)
        canvas = runner.preprocess({"raw_frame": image})["canvas"][0]
        found = find(
            canvas if plan.canvas.color_order == "rgb" else canvas[..., ::-1], 0.01, iou, 300
        )
        score = _between(found.scores, least + 1, 3 * least)
        kept = (found.scores > score) & _is_seen(found.boxes)
        scale = np.array([image.shape[1] / canvas.shape[1], image.shape[0] / canvas.shape[0]] * 2)
        boxes = (found.boxes[kept] * scale).clip(0, [image.shape[1], image.shape[0]] * 2)
        scores, class_ids = found.scores[kept], found.class_ids[kept]
        answer = runner(
            {
                "raw_frame": image,
                "score_threshold": np.float32([score]),
                "iou_threshold": np.float32([iou]),
            }
        )
        seen = _is_seen(answer["boxes"] / scale)
        assert len(scores) >= least, f"{len(scores)} detections"
        got = Detections(answer["boxes"][seen], answer["scores"][seen], answer["class_ids"][seen])
        _assert_same(got, Detections(boxes, scores, class_ids), "framework")
        compared += len(scores)
    return compared


def _assert_same(got: Detections, expected: Detections, whose: str) -> None:
    """Every detection of either is one of the other."""
    near = (box_iou(got.boxes, expected.boxes.astype(np.float32)) >= 0.99) & (
        np.abs(got.scores[:, None] - expected.scores) <= 1e-3
    )
    near &= got.class_ids[:, None] == expected.class_ids
    assert near.any(axis=1).all(), f"the exported stages find what the {whose} does not"
    assert near.any(axis=0).all(), f"the {whose} finds what the exported stages do not"


def _is_seen(boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether a box is a pixel wide and high: of what is less, at the canvas's edge, rounding
    decides all.
    """
    return np.asarray((boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1))


def _shaped(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The top left of the image, as large as it can be in this shape."""
    scale = min(image.shape[0] / height, image.shape[1] / width)
    return np.ascontiguousarray(image[: round(height * scale), : round(width * scale)])


def _between(scores: NDArray[np.floating], first: int = 100, last: int = 200) -> float:
    """The widest gap between scores that far down; those below the tests' least score are not known
    at all.
    """
    window = scores[first:last] if len(scores) >= last else np.append(scores[first:], 0.01)
    gap = int(np.argmax(window[:-1] - window[1:])) if len(window) > 1 else 0
    return float((window[gap] + window[min(gap + 1, len(window) - 1)]) / 2)
