"""Compare two sets of detections, or two raw outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwise_export.checkpoints.base import Detections, Floats

# At least so many detections per image are compared, also below the pipeline's threshold: no
# detections prove no parity.
LEAST_DETECTIONS = 20


@dataclass(frozen=True)
class DetectionDifference:
    """How the expected detections of one image, or of several, were matched.

    Attributes:
        expected: their number, without those too close to the score threshold.
        matched: of these, how many have a partner of the same class with a similar box and score.
        extra: detections without a partner.
        worst_iou: lowest IoU of a pair.
        worst_score: largest difference of scores of a pair.
    """

    expected: int = 0
    matched: int = 0
    extra: int = 0
    worst_iou: float = 1.0
    worst_score: float = 0.0

    def __add__(self, other: DetectionDifference) -> DetectionDifference:
        """Add two."""
        return DetectionDifference(
            self.expected + other.expected,
            self.matched + other.matched,
            self.extra + other.extra,
            min(self.worst_iou, other.worst_iou),
            max(self.worst_score, other.worst_score),
        )

    @property
    def agreement(self) -> float:
        """The share of pairs among the detections of both, 0 to 1; 1 if neither has any."""
        every = self.expected + self.extra
        return self.matched / every if every else 1.0


def compare_detections(
    expected: Detections, got: Detections, *, iou: float, score: float, threshold: float
) -> DetectionDifference:
    """Match detections greedily, best expected score first, each with the unmatched one of its
    class that overlaps most.

    Args:
        expected: of the source.
        got: of the exported stages.
        iou: minimum IoU of a pair.
        score: maximum difference of scores of a pair.
        threshold: the score threshold of both; detections within `score` of it may be missing in
            one of them.

    Example:
        >>> one = Detections(np.float32([[0, 0, 10, 10]]), np.float32([0.9]), np.int64([2]))
        >>> compare_detections(one, one, iou=0.99, score=1e-3, threshold=0.25).agreement
        1.0
    """
    overlaps = box_iou(expected.boxes, got.boxes)
    distances = np.abs(expected.scores[:, None] - got.scores[None])
    fits = (
        (overlaps >= iou)
        & (distances <= score)
        & (expected.class_ids[:, None] == got.class_ids[None])
    )
    free = np.ones(len(got.scores), bool)
    sure = expected.scores > threshold + score
    matched, unsure, worst_iou, worst_score = 0, 0, 1.0, 0.0
    for row in np.argsort(-expected.scores, kind="stable"):
        partners = np.flatnonzero(fits[row] & free)
        if not len(partners):
            unsure += not sure[row]
            continue
        best = partners[np.argmax(overlaps[row, partners])]
        free[best] = False
        matched += 1
        worst_iou = min(worst_iou, float(overlaps[row, best]))
        worst_score = max(worst_score, float(distances[row, best]))
    extra = int((free & (got.scores > threshold + score)).sum())
    return DetectionDifference(
        len(expected.scores) - unsure, matched, extra, worst_iou, worst_score
    )


def box_iou(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Return the IoU of every pair: [n, 4] and [m, 4] xyxy -> [n, m]; 0 for boxes without area."""
    one, other = a.astype(np.float64).reshape(-1, 1, 4), b.astype(np.float64).reshape(1, -1, 4)
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = sides.clip(0).prod(axis=-1)
    union = _area(one) + _area(other) - shared
    overlaps: NDArray[np.float64] = np.divide(
        shared, union, out=np.zeros_like(shared), where=union > 0
    )
    return overlaps


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = (boxes[..., 2:] - boxes[..., :2]).clip(0)
    areas: NDArray[np.float64] = sides.prod(axis=-1)
    return areas


def relative_difference(
    expected: Mapping[str, Floats], got: Mapping[str, Floats]
) -> tuple[float, str]:
    """Return the largest relative difference |expected - got| / |expected| (Euclidean norms) over
    the outputs.
    """
    worst, where = 0.0, ""
    for name, values in expected.items():
        if values.shape != got[name].shape:
            return float("inf"), name
        distance = float(np.linalg.norm(values - got[name])) / (
            float(np.linalg.norm(values)) or 1.0
        )
        if distance >= worst or not np.isfinite(distance):
            worst, where = distance, name
    return worst, where
