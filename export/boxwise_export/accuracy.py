"""Measure a pipeline on a labelled set before it is published, beside the same in fp32."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boxwise import PipelineInfo
from boxwise_export.errors import ExportError
from boxwise_export.parity.report import ParityError
from boxwise_export.plan import Plan
from boxwise_export.repository.stage_models import information
from boxwise_runtime.pipeline_runner import PipelineRunner

if TYPE_CHECKING:
    from boxwise_eval.datasets import Dataset
    from boxwise_eval.run import Detections, Thresholds


@dataclass(frozen=True)
class Accuracy:
    """The figures of a pipeline, 0 to 1.

    Attributes:
        figures: "detector map" (mAP@[.5:.95]), and "<classifier> top-1" if the set has
            its labels.
        exact: the same of the pipeline in fp32.
        limit: maximum loss of each figure.
        images: of the set.
    """

    figures: Mapping[str, float]
    exact: Mapping[str, float]
    limit: float
    images: int

    def lines(self) -> Iterator[str]:
        """Return the figures as lines of text."""
        yield f"accuracy on {self.images} labelled images:"
        for name, value in self.figures.items():
            yield f"  {name:<24} {value:.4f} (fp32: {self.exact[name]:.4f})"

    def document(self) -> dict[str, Any]:
        """Return the figures as JSON types, for the manifest."""
        return asdict(self)

    def require(self) -> None:
        """Raise ParityError if a figure lost more than the limit."""
        for name, value in self.figures.items():
            if (lost := self.exact[name] - value) > self.limit:
                raise ParityError(
                    f"{name}: {value:.4f}, {lost:.4f} less than in fp32, and {self.limit:g} may be "
                    "lost; nothing was published. Choose another --precision, or allow more under "
                    "`tolerances: accuracy`"
                )


def load_labelled(data: Path) -> Dataset:
    """Read the set.

    Raises:
        ExportError: it cannot be read.
    """
    from boxwise_eval.datasets import load
    from boxwise_eval.errors import EvalError

    try:
        return load(data)
    except EvalError as error:
        raise ExportError(f"--data: {error}") from error


def measure(plan: Plan, runner: PipelineRunner, dataset: Dataset) -> dict[str, float]:
    """Measure a plan's stages, run in this process, on every image of the set.

    Raises:
        ExportError: the set does not fit the pipeline.
    """
    from boxwise_contract.refusals import InvalidInput
    from boxwise_eval.errors import EvalError
    from boxwise_eval.report import evaluate
    from boxwise_eval.run import Detections, Thresholds

    def predict(path: Path, thresholds: Thresholds) -> Detections:
        request: dict[str, NDArray[Any]] = {
            "image": np.fromfile(path, np.uint8),
            "score_threshold": np.array([thresholds.score], np.float32),
            "iou_threshold": np.array([thresholds.iou], np.float32),
            "max_detections": np.array([thresholds.max_detections], np.int32),
        }
        try:
            said = runner(request)
        except InvalidInput as error:
            raise EvalError(f"{path}: the pipeline refuses it: {error}") from error
        labels = {name: said[f"{name}_ids"].astype(np.int64) for name in runner.classifiers}
        return Detections(said["boxes"], said["scores"], said["class_ids"].astype(np.int64), labels)

    info = PipelineInfo.from_json(json.dumps(information(plan, {})))
    try:
        report = evaluate(predict, info, dataset, Thresholds())
    except EvalError as error:
        raise ExportError(f"--data: {error}") from error
    figures = {f"{name} top-1": each.top1 for name, each in report.classifiers.items()}
    if report.detection and report.detection.map is not None:
        figures = {"detector map": report.detection.map, **figures}
    if not figures:
        raise ExportError(
            "--data: the set says nothing that could be measured; expected boxes, or labels"
        )
    return figures
