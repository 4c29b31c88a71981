"""A pipeline file and its checkpoints become a plan: every graph built and every number settled, nothing written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from boxwise_export.errors import GraphError, PipelineError
from boxwise_export.families import find_family
from boxwise_export.graph.batch import with_dynamic_batch
from boxwise_export.graph.classifier import build_classifier
from boxwise_export.graph.detector import build_detector
from boxwise_export.graph.source import SourceInput, probe, read_input
from boxwise_export.labels import read_labels
from boxwise_export.pipeline import MAX_CANDIDATES, Classifier, Detector, Pipeline, Weights
from boxwise_export.sources import read_source
from boxwise_runtime.canvas import ColorOrder, Interpolation, Resize
from boxwise_runtime.crop import CropSpec

Report = Callable[[str], None]

# More processes than this share caches and memory bandwidth and gain nothing; the cores left over become threads.
_MOST_INSTANCES = 8
# Batches of a classifier across requests, where the pipeline itself asks about one picture at a time.
_WHOLE_PICTURE_BATCH = 8


@dataclass(frozen=True)
class CanvasPlan:
    """The detector's input, settled; see `stages.Preprocess`."""

    height: int
    width: int
    resize: Resize
    pad_value: int
    interpolation: Interpolation
    color_order: ColorOrder


@dataclass(frozen=True)
class DetectorPlan:
    """A detector, ready to be published."""

    spec: Detector
    family: str
    nms: bool
    labels: tuple[str, ...]
    canvas: CanvasPlan
    candidates: int
    max_batch_size: int
    graph: onnx.ModelProto
    source_digest: str


@dataclass(frozen=True)
class ClassifierPlan:
    """A classifier, ready to be published; `only` holds detector class ids, none for all."""

    spec: Classifier
    labels: tuple[str, ...]
    only: tuple[int, ...]
    crop: CropSpec
    top_k: int
    max_batch_size: int
    graph: onnx.ModelProto
    source_digest: str


@dataclass(frozen=True)
class Plan:
    """A whole pipeline, ready to be published.

    Attributes:
        name: of the pipeline.
        detector: or None.
        classifiers: any number.
        max_pixels: the most pixels of a picture.
        instances: processes of each stage that is worth more than one.
        threads: of each model instance.
    """

    name: str
    detector: DetectorPlan | None
    classifiers: tuple[ClassifierPlan, ...]
    max_pixels: int
    instances: int
    threads: int

    @property
    def max_detections(self) -> int:
        """The most rows of a reply."""
        return self.detector.spec.max_detections if self.detector else 1


def available_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def make_plan(pipeline: Pipeline, *, cores: int | None = None, report: Report = lambda _: None) -> Plan:
    """Read the checkpoints, build the graphs, settle what the pipeline file leaves open.

    Args:
        pipeline: the pipeline file.
        cores: of the machine that will serve; None for this one's.
        report: told each step.

    Raises:
        ExportError: a checkpoint, a graph or a key is wrong; says which, what was expected and the mend.
    """
    cores = cores or available_cores()
    instances = min(cores, _MOST_INSTANCES)
    detector = _plan_detector(pipeline.detector, report) if pipeline.detector else None
    return Plan(
        name=pipeline.name,
        detector=detector,
        classifiers=tuple(_plan_classifier(classifier, detector, report) for classifier in pipeline.classifiers),
        max_pixels=round(pipeline.max_megapixels * 1_000_000),
        instances=instances,
        threads=max(1, cores // instances),
    )


def _plan_detector(spec: Detector, report: Report) -> DetectorPlan:
    report(f"detector: reading {spec.weights.file.name}")
    size = spec.canvas.size
    model = _read(spec.weights, "detector.weights", size)
    source = read_input(model)
    height, width = _settle_size(source, size, "detector.canvas.size")
    model, source = _open_batch(model, source, height, width)
    outputs = probe(model, source, height, width)
    family = find_family(spec.family, outputs, height, width)
    normalize = spec.normalize or family.canvas.normalize
    report(f"detector: {family.name}, {height} x {width}; writing its decoding into the graph")
    graph, candidates, classes = build_detector(
        model,
        source,
        family,
        outputs,
        height=height,
        width=width,
        normalize=normalize,
        candidates=spec.candidates or MAX_CANDIDATES,
    )
    labels = read_labels(spec.labels, "detector.labels")
    if len(labels) != classes:
        raise PipelineError(f"detector.labels: {len(labels)} names, but the graph gives {classes} classes")
    return DetectorPlan(
        spec=spec,
        family=family.name,
        nms=family.nms,
        labels=labels,
        canvas=CanvasPlan(
            height=height,
            width=width,
            resize=spec.canvas.resize or family.canvas.resize,
            pad_value=family.canvas.pad_value if spec.canvas.pad_value is None else spec.canvas.pad_value,
            interpolation=spec.canvas.interpolation or family.canvas.interpolation,
            color_order=spec.canvas.color_order or family.canvas.color_order,
        ),
        candidates=candidates,
        max_batch_size=spec.max_batch_size if source.batch is None else 1,
        graph=graph,
        source_digest=_digest(spec.weights.file),
    )


def _plan_classifier(spec: Classifier, detector: DetectorPlan | None, report: Report) -> ClassifierPlan:
    key = f"classifiers.{spec.name}"
    report(f"{spec.name}: reading {spec.weights.file.name}")
    model = _read(spec.weights, f"{key}.weights", spec.crop.size)
    source = read_input(model)
    height, width = _settle_size(source, spec.crop.size, f"{key}.crop.size")
    model, source = _open_batch(model, source, height, width)
    if source.batch is not None and detector is not None:
        raise GraphError(
            f"{key}.weights: the graph takes {source.batch} crop at a time and cannot be changed to take more; "
            "export it again with a dynamic batch"
        )
    batch = 1 if source.batch is not None else _WHOLE_PICTURE_BATCH
    outputs = probe(model, source, height, width)
    if len(outputs) != 1:
        raise GraphError(f"{key}.weights: gives {', '.join(outputs)}; name the logits in `outputs: [...]`")
    ((output, logits),) = outputs.items()
    labels = read_labels(spec.labels, f"{key}.labels")
    if len(labels) != logits.size:
        raise PipelineError(f"{key}.labels: {len(labels)} names, but the graph gives {logits.size} classes")
    top_k = min(spec.top_k, len(labels))
    report(f"{spec.name}: {height} x {width}, {len(labels)} labels; writing {spec.activation} and top-{top_k}")
    return ClassifierPlan(
        spec=spec,
        labels=labels,
        only=_class_ids(spec, detector, key),
        crop=CropSpec(
            height=height,
            width=width,
            padding=spec.crop.padding,
            keep_aspect=spec.crop.keep_aspect,
            resize_shorter=spec.crop.resize_shorter or 0,
            pad_value=spec.crop.pad_value,
            interpolation=spec.crop.interpolation,
            color_order=spec.crop.color_order,
        ),
        top_k=top_k,
        max_batch_size=detector.spec.max_detections if detector else batch,
        graph=build_classifier(
            model,
            source,
            output,
            height=height,
            width=width,
            normalize=spec.normalize,
            activation=spec.activation,
            threshold=spec.threshold,
            top_k=top_k,
        ),
        source_digest=_digest(spec.weights.file),
    )


def _read(weights: Weights, key: str, size: tuple[int, int] | None) -> onnx.ModelProto:
    if not weights.file.is_file():
        raise PipelineError(f"{key}: no such file: {weights.file}")
    return read_source(weights, key, size)


def _settle_size(source: SourceInput, asked: tuple[int, int] | None, key: str) -> tuple[int, int]:
    """Height and width: the graph's own where it has them, which the pipeline file must not contradict."""
    if source.height is not None and source.width is not None:
        fixed = (source.height, source.width)
        if asked is not None and asked != fixed:
            raise PipelineError(f"{key}: {list(asked)}, but the graph takes {list(fixed)}; leave it out or correct it")
        return fixed
    if asked is None:
        raise PipelineError(f"{key}: the graph takes pictures of any size; say which it was trained on")
    return asked


def _open_batch(
    model: onnx.ModelProto, source: SourceInput, height: int, width: int
) -> tuple[onnx.ModelProto, SourceInput]:
    opened = with_dynamic_batch(model, source, height, width)
    return (model, source) if opened is None else (opened, read_input(opened))


def _class_ids(spec: Classifier, detector: DetectorPlan | None, key: str) -> tuple[int, ...]:
    if spec.only is None or detector is None:
        return ()
    ids = {name: index for index, name in enumerate(detector.labels)}
    if unknown := [name for name in spec.only if name not in ids]:
        known = ", ".join(detector.labels)
        raise PipelineError(f"{key}.only: the detector has no class {unknown[0]!r}; it has {known}")
    return tuple(sorted(ids[name] for name in spec.only))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
