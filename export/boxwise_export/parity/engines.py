"""Compare plans with the graphs that they were built from, in their pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from boxwise_contract.tensors import Tensors
from boxwise_export.checkpoints.base import Detections
from boxwise_export.parity.compare import LEAST_DETECTIONS, DetectionDifference, compare_detections
from boxwise_export.parity.limits import Limits
from boxwise_export.parity.report import Step
from boxwise_runtime.pipeline_runner import PipelineRunner


def check_engines(
    exact: PipelineRunner,
    planned: PipelineRunner,
    frames: Sequence[NDArray[np.uint8]],
    limits: Limits,
) -> list[Step]:
    """Final detections, and the best label of each classifier on the same boxes.

    Args:
        exact: with the graphs.
        planned: with the plans.
        frames: RGB uint8 [H, W, 3].
        limits: the allowed differences.
    """
    difference = DetectionDifference()
    asked = dict.fromkeys(exact.classifiers, 0)
    agreed = dict.fromkeys(exact.classifiers, 0)
    for frame in frames:
        request: Tensors = {"raw_frame": frame}
        if exact.detector:
            least = exact({**request, "score_threshold": np.zeros(1, np.float32)})
            threshold = float(np.sort(least["scores"])[::-1][:LEAST_DETECTIONS].min(initial=1.0))
            cut = {**request, "score_threshold": np.array([threshold], np.float32)}
            difference += compare_detections(
                _found(exact(cut)),
                _found(planned(cut)),
                iou=limits.iou,
                score=limits.score,
                threshold=threshold,
            )
        objects = exact(request)
        for name, graph in exact.classifiers.items():
            crops = {"crops": objects[f"{name}_crops"]}
            rows = len(objects[f"{name}_rows"])
            if rows:
                one, other = graph(crops), planned.classifiers[name](crops)
                same = one["label_ids"][:, 0] == other["label_ids"][:, 0]
                near = (
                    np.abs(one["label_scores"][:, 0] - other["label_scores"][:, 0]) <= limits.score
                )
                asked[name] += rows
                agreed[name] += int((same & near)[:rows].sum())
    steps = [_detections(difference, limits)] if exact.detector else []
    return steps + [_labels(name, agreed[name], asked[name], limits) for name in asked]


def _found(answer: Tensors) -> Detections:
    return Detections(answer["boxes"], answer["scores"], answer["class_ids"].astype(np.int64))


def _detections(found: DetectionDifference, limits: Limits) -> Step:
    compared = found.expected + found.extra
    sentence = (
        f"{found.matched} of {found.expected} detections matched (IoU >= {limits.iou:g}, score "
        f"within {limits.score:g}; worst {found.worst_iou:.4f} and {found.worst_score:.2g}), "
        f"{found.extra} extra"
    )
    passed = found.agreement >= limits.agreement if compared else None
    return Step("detector", "detections", passed, sentence, {"agreement": found.agreement})


def _labels(name: str, agreed: int, asked: int, limits: Limits) -> Step:
    share = agreed / asked if asked else 1.0
    sentence = (
        f"{agreed} of {asked} boxes have the graph's best label, its score within {limits.score:g}"
    )
    return Step(
        name, "top-1", share >= limits.agreement if asked else None, sentence, {"agreement": share}
    )
