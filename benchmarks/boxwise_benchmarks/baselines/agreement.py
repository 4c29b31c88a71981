"""Whether two ways to serve a pipeline find the same: without that, their rates are not to be
compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boxwise_benchmarks.baselines.base import Detections

# JPEG decoding, resizing and graphs are the same; what may differ is the order of float additions.
_PIXELS = 1.0
_IOU = 0.99
_SCORE = 0.001


def disagreement(ours: Detections, theirs: Detections) -> str | None:
    """What differs first, as a sentence; None where both found the same.

    The same is: as many boxes, each within a pixel or of IoU 0.99, of one class, and scores within
    0.001; the same best label and, within 0.001, its score. Boxes of equal scores may come in any
    order.
    """
    if len(ours.boxes) != len(theirs.boxes):
        return f"{len(theirs.boxes)} boxes, where ours has {len(ours.boxes)}"
    left = set(range(len(theirs.boxes)))
    for row, box in enumerate(ours.boxes):
        near = [other for other in left if _same_box(box, theirs.boxes[other])]
        near = [other for other in near if ours.class_ids[row] == theirs.class_ids[other]]
        if not near:
            return f"no box like our {box.round(1).tolist()} of class {ours.class_ids[row]}"
        other = min(near, key=lambda each: abs(float(ours.scores[row] - theirs.scores[each])))
        left.remove(other)
        where = f"the box {box.round(1).tolist()}"
        if abs(float(ours.scores[row] - theirs.scores[other])) > _SCORE:
            return f"{where} scores {theirs.scores[other]:.4f}, ours {ours.scores[row]:.4f}"
        if ours.label_ids[row, 0] != theirs.label_ids[other, 0]:
            return (
                f"{where} is labelled {theirs.label_ids[other, 0]}, ours {ours.label_ids[row, 0]}"
            )
        if abs(float(ours.label_scores[row, 0] - theirs.label_scores[other, 0])) > _SCORE:
            return (
                f"{where}: its label scores {theirs.label_scores[other, 0]:.4f}, ours "
                f"{ours.label_scores[row, 0]:.4f}"
            )
    return None


def _same_box(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Whether two boxes, float32 [4] xyxy, lie within a pixel or have that IoU."""
    if np.abs(a - b).max() <= _PIXELS:
        return True
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = float(sides.prod())
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
    return shared >= _IOU * union
