"""Rewrite a plan's graphs in int8, with ranges measured on images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from boxwise_export.checkpoints.network import Report
from boxwise_export.graphs.precision import to_int8
from boxwise_export.parity.classifier import crops_of
from boxwise_export.plan import Plan
from boxwise_runtime.pipeline_runner import PipelineRunner

Frames = Sequence[NDArray[np.uint8]]


def quantized(plan: Plan, runner: PipelineRunner, frames: Frames, report: Report) -> Plan:
    """Rewrite the graphs of a plan in int8.

    Args:
        plan: in fp32.
        runner: of its stages, which prepare the networks' inputs.
        frames: RGB uint8 [H, W, 3].
        report: told each step.
    """
    detector = plan.detector
    if detector:
        report(f"detector: int8, its ranges found on {len(frames)} images")
        detector = replace(detector, graph=to_int8(detector.graph, _canvases(runner, frames)))
    classifiers = []
    for classifier in plan.classifiers:
        report(
            f"{classifier.spec.name}: int8, its ranges found on {len(frames)} images and "
            "the boxes in them"
        )
        crops = (crops_of(classifier, runner, frame) for frame in frames)
        classifiers.append(replace(classifier, graph=to_int8(classifier.graph, crops)))
    return replace(plan, detector=detector, classifiers=tuple(classifiers), precision="int8")


def _canvases(runner: PipelineRunner, frames: Frames) -> Iterator[NDArray[np.uint8]]:
    assert runner.preprocess is not None  # noqa: S101 (there is a detector)
    for frame in frames:
        yield runner.preprocess({"raw_frame": frame})["canvas"]
