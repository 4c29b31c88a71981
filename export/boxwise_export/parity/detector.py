"""The detector's steps of the parity gate: pixels, raw outputs, final detections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_export.checkpoints.base import Detect, Detections, Floats, Selection
from boxwise_export.graphs.detector import build_decoder
from boxwise_export.graphs.normalize import normalized_pixels
from boxwise_export.parity.compare import LEAST_DETECTIONS, DetectionDifference, compare_detections
from boxwise_export.parity.limits import Limits
from boxwise_export.parity.pixels import PixelDifference
from boxwise_export.parity.raw import RawOutputs
from boxwise_export.parity.report import Step
from boxwise_export.pipeline import MAX_CANDIDATES
from boxwise_export.plan import DetectorPlan
from boxwise_runtime.canvas import Geometry, to_image
from boxwise_runtime.pipeline_runner import PipelineRunner
from boxwise_runtime.session import OnnxGraph
from boxwise_runtime.stages import Suppress

_LEAST_SCORE = 1e-3  # what scores less is noise to every framework


def check_detector(
    plan: DetectorPlan, runner: PipelineRunner, frames: Sequence[NDArray[np.uint8]], limits: Limits
) -> Iterator[Step]:
    """Compare, image by image, and give the three steps at the end.

    Args:
        plan: with the source.
        runner: the exported stages.
        frames: RGB uint8 [H, W, 3].
        limits: what is allowed.
    """
    check = _Check(plan, runner, limits)
    for frame in frames:
        check.image(frame)
    yield check.pixels.step("detector", limits.pixels)
    yield check.raw.step("detector", limits.outputs)
    yield check.step()


@dataclass
class _Check:
    plan: DetectorPlan
    runner: PipelineRunner
    limits: Limits
    pixels: PixelDifference = field(default_factory=PixelDifference)
    difference: DetectionDifference = field(default_factory=DetectionDifference)

    def __post_init__(self) -> None:
        self.raw = RawOutputs(self.plan.graph, list(self.plan.raw_ranks), "canvas")
        self._detect = _own_detect(self.plan)
        self._decode = None if self._detect else OnnxGraph(_decoder(self.plan))
        self._suppress = Suppress(self.plan.reading.nms, self.plan.spec.nms.class_agnostic)

    def image(self, frame: NDArray[np.uint8]) -> None:
        """One image, through the source and through the stages."""
        assert self.runner.preprocess is not None  # noqa: S101 (there is a detector)
        request = self.runner.preprocess({"raw_frame": frame})
        canvas = request["canvas"]
        given = normalized_pixels(canvas, self.plan.normalize, self.plan.input)
        if self.plan.source.prepare:
            self.pixels.add(
                self.plan.source.prepare(frame), given, self.plan.normalize, self.plan.input
            )
        outputs = self.plan.source.run(given)
        self.raw.add(outputs, canvas)

        geometry = Geometry(*request["geometry"].tolist())
        expected = _best(_shown(self._expected(outputs), geometry), self.plan.spec.max_detections)
        threshold = self._threshold(expected.scores)
        settings = {
            "score_threshold": np.array([threshold], np.float32),
            "iou_threshold": np.array([self.plan.spec.iou_threshold], np.float32),
        }
        got = self.runner({"raw_frame": frame, **settings})
        self.difference += compare_detections(
            _above(expected, threshold),
            Detections(got["boxes"], got["scores"], got["class_ids"].astype(np.int64)),
            iou=self.limits.iou,
            score=self.limits.score,
            threshold=threshold,
        )

    def step(self) -> Step:
        """The detections of all images."""
        found, limits = self.difference, self.limits
        figures = {
            "expected": float(found.expected),
            "matched": float(found.matched),
            "extra": float(found.extra),
            "agreement": found.agreement,
            "worst_iou": found.worst_iou,
            "worst_score": found.worst_score,
        }
        by = (
            "its own post-processing"
            if self._detect
            else f"the {self.plan.family} decoding of its outputs"
        )
        if not found.expected + found.extra:
            return Step(
                "detector", "detections", None, f"{by} finds nothing on these images", figures
            )
        sentence = (
            f"{found.matched} of {found.expected} of {by} matched (IoU >= {limits.iou:g}, score "
            f"within {limits.score:g}; worst {found.worst_iou:.4f} and {found.worst_score:.2g}), "
            f"{found.extra} extra"
        )
        return Step(
            "detector", "detections", found.agreement >= limits.agreement, sentence, figures
        )

    def _expected(self, outputs: Mapping[str, Floats]) -> Detections:
        """Detections on the canvas, more than are served:
        those in the padding count for nothing.
        """
        spec, canvas = self.plan.spec, self.plan.canvas
        size = (canvas.height, canvas.width)
        if self._detect:
            selection = Selection(
                _LEAST_SCORE,
                spec.iou_threshold,
                MAX_CANDIDATES,
                self.plan.multi_label,
                spec.nms.class_agnostic,
            )
            return self._detect(outputs, size, selection)
        assert self._decode is not None  # noqa: S101 (see __post_init__)
        candidates: dict[str, NDArray[Any]] = self._decode(dict(outputs))
        found = self._suppress(
            {
                **candidates,
                "thresholds": np.array(
                    [_LEAST_SCORE, spec.iou_threshold, MAX_CANDIDATES], np.float32
                ),
                "geometry": np.array(Geometry(*size, 1, 1, 0, 0), np.float32),
                "class_filter": np.empty(0, np.int32),
            }
        )
        return Detections(found["boxes"], found["scores"], found["class_ids"].astype(np.int64))

    def _threshold(self, scores: Floats) -> float:
        best = np.sort(scores)[::-1]
        threshold = self.plan.spec.score_threshold
        if len(best):
            threshold = min(threshold, float(best[min(len(best), LEAST_DETECTIONS) - 1]))
        if len(best) == self.plan.spec.max_detections:  # both stop there
            threshold = max(threshold, float(best[-1]))
        return max(threshold, _LEAST_SCORE)


def _own_detect(plan: DetectorPlan) -> Detect | None:
    """The framework's own post-processing, where it can do what the pipeline file asks for."""
    usual = plan.multi_label and not plan.spec.nms.class_agnostic
    return plan.source.detect if plan.source.selects or usual else None


def _decoder(plan: DetectorPlan) -> bytes:
    """The family's decoding alone: raw outputs in, candidates out."""
    graph = build_decoder(plan.reading, plan.raw_ranks, plan.candidates, plan.multi_label)
    return bytes(graph.SerializeToString())


def _shown(found: Detections, geometry: Geometry) -> Detections:
    """From the canvas to the image; what lies wholly in the padding is gone."""
    boxes = to_image(found.boxes.reshape(-1, 4).astype(np.float32), geometry)
    seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Detections(boxes[seen], found.scores[seen], found.class_ids[seen])


def _best(found: Detections, most: int) -> Detections:
    rows = np.argsort(-found.scores, kind="stable")[:most]
    return Detections(found.boxes[rows], found.scores[rows], found.class_ids[rows])


def _above(found: Detections, threshold: float) -> Detections:
    kept = found.scores >= threshold
    return Detections(found.boxes[kept], found.scores[kept], found.class_ids[kept])
