"""Detectors run and decoded from their papers, sharing no code with boxwise: what is served is held
against this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Floats = NDArray[np.floating]
# The least score that the tests ask for.
_LEAST = 0.01


@dataclass(frozen=True)
class Detections:
    """n objects, best first: boxes [n, 4] (xyxy, clipped to the image), scores [n], class_ids [n].

    `on_canvas` are the boxes as the detector gave them.
    """

    on_canvas: Floats
    boxes: Floats
    scores: Floats
    class_ids: NDArray[np.integer]

    def __getitem__(self, rows: Sequence[int] | NDArray[np.integer]) -> Detections:
        return Detections(
            self.on_canvas[rows], self.boxes[rows], self.scores[rows], self.class_ids[rows]
        )


def session(model: bytes) -> ort.InferenceSession:
    """ONNX Runtime on a source as it was read, before anything is written around it."""
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def centernet(source: ort.InferenceSession, frame: NDArray[np.uint8]) -> Detections:
    """Zhou et al., arXiv:1904.07850: objects are the 3 x 3 maxima of the heat map; here with
    distances to four sides.

    The source takes 512 x 512 RGB 0..255, channels last, the image centred on 114.
    """
    height, width = frame.shape[:2]
    ratio = 512 / max(height, width)
    new_height, new_width = max(round(height * ratio), 1), max(round(width * ratio), 1)
    top, left = (512 - new_height) // 2, (512 - new_width) // 2
    canvas = np.full((1, 512, 512, 3), 114, np.float32)
    canvas[0, top : top + new_height, left : left + new_width] = cv2.resize(
        frame, (new_width, new_height)
    )
    (name,) = (tensor.name for tensor in source.get_inputs())
    heat, sides = (
        maps[0] for maps in source.run(["tower_0/keypoints", "tower_0/wh"], {name: canvas})
    )

    ringed = np.pad(heat, ((1, 1), (1, 1), (0, 0)), constant_values=-1)
    windows = [ringed[i : i + 128, j : j + 128] for i in range(3) for j in range(3)]
    y, x, classes = np.nonzero((heat == np.max(windows, axis=0)) & (heat >= _LEAST))
    to_left, to_top, to_right, to_bottom = sides[y, x].T
    boxes = np.stack([4 * x - to_left, 4 * y - to_top, 4 * x + to_right, 4 * y + to_bottom], axis=1)
    shown = (boxes - [left, top, left, top]) / ([new_width / width, new_height / height] * 2)
    return _best(boxes, shown.clip(0, [width, height, width, height]), heat[y, x, classes], classes)


def yolox(source: ort.InferenceSession, frame: NDArray[np.uint8]) -> Detections:
    """Ge et al., arXiv:2107.08430, and the authors' demo: BGR 0..255 at the top left of 416 x 416
    grey, three grids.
    """
    height, width = frame.shape[:2]
    ratio = min(416 / height, 416 / width)
    new_height, new_width = int(height * ratio), int(width * ratio)  # the authors cut down
    canvas = np.full((416, 416, 3), 114, np.uint8)
    canvas[:new_height, :new_width] = cv2.resize(frame[..., ::-1], (new_width, new_height))
    (name,) = (tensor.name for tensor in source.get_inputs())
    (out,) = source.run(None, {name: canvas.transpose(2, 0, 1)[np.newaxis].astype(np.float32)})

    rows = iter(out[0])
    boxes, scores, classes = [], [], []
    for stride in (8, 16, 32):
        for y in range(416 // stride):
            for x in range(416 // stride):
                row = next(rows)
                cx, cy = (row[0] + x) * stride, (row[1] + y) * stride
                w, h = np.exp(row[2:4]) * stride
                confidence = row[4] * row[5:]
                for hit in np.flatnonzero(confidence >= _LEAST):
                    boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                    scores.append(confidence[hit])
                    classes.append(hit)
    assert next(rows, None) is None, "the grids do not cover the output"
    on_canvas = np.array(boxes, np.float32).reshape(-1, 4)
    shown = on_canvas / ([new_width / width, new_height / height] * 2)
    shown = shown.clip(0, [width, height, width, height])
    return _best(on_canvas, shown, np.array(scores, np.float32), np.array(classes, int))


def _best(
    on_canvas: Floats, boxes: Floats, scores: Floats, classes: NDArray[np.integer]
) -> Detections:
    """The contract: the best 1,000 (cell, class) pairs, and of those the ones of which something
    shows.
    """
    found = Detections(on_canvas, boxes, scores, classes)[np.argsort(-scores, kind="stable")[:1000]]
    return found[np.flatnonzero((found.boxes[:, 2:] > found.boxes[:, :2]).all(axis=1))]


def suppress(
    found: Detections, score: float, iou: float, most: int, only: Sequence[int] = ()
) -> Detections:
    """Greedy, per class, on the canvas: whoever overlaps a better box by more than `iou` goes."""
    kept: list[int] = []
    for i in range(len(found.scores)):
        if found.scores[i] < score or (only and found.class_ids[i] not in only):
            continue
        rivals = (j for j in kept if found.class_ids[j] == found.class_ids[i])
        if all(_iou(found.on_canvas[i], found.on_canvas[j]) <= iou for j in rivals):
            kept.append(i)
        if len(kept) == most:
            break
    return found[kept]


def _iou(a: Floats, b: Floats) -> float:
    shared_width = min(a[2], b[2]) - max(a[0], b[0])
    shared_height = min(a[3], b[3]) - max(a[1], b[1])
    if shared_width <= 0 or shared_height <= 0:
        return 0.0
    shared = shared_width * shared_height
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))
