"""Whether two peers find the same objects; if not, their rates cannot be compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boxwise_benchmarks.baselines.base import Detections

# Decoding, resizing and graphs are the same; only the order of float additions may differ.
_PIXELS = 1.0
_IOU = 0.99
_SCORE = 0.001


def disagreement(ours: Detections, theirs: Detections) -> str | None:
    """Return the first difference as a sentence; None if both agree.

    They agree if they have equally many boxes, and each has a counterpart of the same class and
    best label, within a pixel or with an IoU of 0.99, and scores within 0.001. The order of boxes
    with equal scores does not matter.
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
    """Return whether two boxes, float32 [4] xyxy, are within a pixel, or have the least IoU."""
    if np.abs(a - b).max() <= _PIXELS:
        return True
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = float(sides.prod())
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
    return shared >= _IOU * union
