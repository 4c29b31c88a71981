"""Greedy, class-aware non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def suppress(
    boxes: FloatArray, scores: FloatArray, class_ids: NDArray[np.int32], iou_threshold: float, max_detections: int
) -> NDArray[np.intp]:
    """Keep the best box of each heap of boxes of one class.

    A box is dropped when its IoU with a kept, better box of the same class is above `iou_threshold`. It stops as
    soon as `max_detections` are kept, so the cost follows what is kept, not what came.

    Args:
        boxes: float32 [n, 4], xyxy.
        scores: float32 [n].
        class_ids: int32 [n].
        iou_threshold: 0 to 1; at 1 nothing is dropped.
        max_detections: at most this many are kept.

    Returns:
        intp [m], indices of the kept boxes, best score first; of equal scores, the first came first.
    """
    remaining = np.argsort(-scores, kind="stable")
    if iou_threshold >= 1:
        return remaining[:max_detections]
    kept: list[np.intp] = []
    while remaining.size and len(kept) < max_detections:
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        overlaps = iou(boxes[best], boxes[remaining]) > iou_threshold
        remaining = remaining[~(overlaps & (class_ids[remaining] == class_ids[best]))]
    return np.array(kept, np.intp)


def iou(box: FloatArray, boxes: FloatArray) -> FloatArray:
    """Intersection over union of one box [4] with each of boxes [n, 4], all xyxy; 0 where the union is empty."""
    top_left = np.maximum(box[:2], boxes[:, :2])
    bottom_right = np.minimum(box[2:], boxes[:, 2:])
    intersection = np.clip(bottom_right - top_left, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - intersection
    overlap: FloatArray = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return overlap
