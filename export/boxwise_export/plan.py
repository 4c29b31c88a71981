"""A pipeline file and its checkpoints become a plan: every graph built and every number settled, nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from boxwise_export.errors import GraphError, PipelineError
from boxwise_export.families import Head, Reading, find_family
from boxwise_export.graph.batch import with_dynamic_batch
from boxwise_export.graph.classifier import build_classifier
from boxwise_export.graph.detector import build_detector
from boxwise_export.graph.precision import to_fp16
from boxwise_export.graph.source import SourceInput, probe, read_input
from boxwise_export.labels import read_labels
from boxwise_export.pipeline import MAX_CANDIDATES, Classifier, Detector, Labels, Normalize, Pipeline, Precision
from boxwise_export.sources import Source, read_source
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
    source: Source
    family: str
    reading: Reading
    labels: tuple[str, ...]
    canvas: CanvasPlan
    normalize: Normalize
    candidates: int
    max_batch_size: int
    graph: onnx.ModelProto
    raw_ranks: Mapping[str, int]


@dataclass(frozen=True)
class ClassifierPlan:
    """A classifier, ready to be published; `only` holds detector class ids, none for all."""

    spec: Classifier
    source: Source
    labels: tuple[str, ...]
    only: tuple[int, ...]
    crop: CropSpec
    normalize: Normalize
    top_k: int
    max_batch_size: int
    graph: onnx.ModelProto
    raw_output: str


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
        precision: of the graphs.
    """

    name: str
    detector: DetectorPlan | None
    classifiers: tuple[ClassifierPlan, ...]
    max_pixels: int
    instances: int
    threads: int
    precision: Precision = "fp32"

    @property
    def max_detections(self) -> int:
        """The most rows of a reply."""
        return self.detector.spec.max_detections if self.detector else 1


def available_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def make_plan(
    pipeline: Pipeline, *, cores: int | None = None, fp16: bool = False, report: Report = lambda _: None
) -> Plan:
    """Read the checkpoints, build the graphs, settle what the pipeline file leaves open.

    Args:
        pipeline: the pipeline file.
        cores: of the machine that will serve; None for this one's.
        fp16: whether the networks are rewritten in it; all else stays in fp32.
        report: told each step.

    Raises:
        ExportError: a checkpoint, a graph or a key is wrong; says which, what was expected and the mend.
    """
    cores = cores or available_cores()
    instances = min(cores, _MOST_INSTANCES)
    detector = _plan_detector(pipeline.detector, fp16, report) if pipeline.detector else None
    return Plan(
        name=pipeline.name,
        detector=detector,
        classifiers=tuple(_plan_classifier(classifier, detector, fp16, report) for classifier in pipeline.classifiers),
        max_pixels=round(pipeline.max_megapixels * 1_000_000),
        instances=instances,
        threads=max(1, cores // instances),
        precision="fp16" if fp16 else "fp32",
    )


def _plan_detector(spec: Detector, fp16: bool, report: Report) -> DetectorPlan:
    report(f"detector: reading {spec.weights.title}")
    read = read_source(spec.weights, "detector.weights", spec.canvas.size)
    own = read.preprocessing
    source = read_input(read.model)
    height, width = _settle_size(source, spec.canvas.size or own.size, "detector.canvas.size")
    model, source = _open_batch(read.model, source, height, width, report)
    labels = _labels(spec.labels, read, "detector.labels")
    head = Head(
        probe(model, source, height, width),
        height,
        width,
        classes=len(labels),
        anchors=_read_anchors(spec.anchors),
        tensors=spec.tensors,
    )
    family, reading = find_family(spec.family or read.family, head)
    if reading.classes not in (None, len(labels)):
        raise PipelineError(f"detector.labels: {len(labels)} names, but the graph gives {reading.classes} classes")
    report(f"detector: {family.name}, {height} x {width}; writing its decoding into the graph")
    normalize = spec.normalize or own.normalize or family.canvas.normalize
    graph, candidates = build_detector(
        to_fp16(model) if fp16 else model,
        source,
        reading,
        height=height,
        width=width,
        normalize=normalize,
        candidates=spec.candidates or MAX_CANDIDATES,
    )
    return DetectorPlan(
        spec=spec,
        source=read,
        family=family.name,
        reading=reading,
        labels=labels,
        canvas=CanvasPlan(
            height=height,
            width=width,
            resize=spec.canvas.resize or own.resize or family.canvas.resize,
            pad_value=_first(spec.canvas.pad_value, own.pad_value, family.canvas.pad_value),
            interpolation=spec.canvas.interpolation or own.interpolation or family.canvas.interpolation,
            color_order=spec.canvas.color_order or own.color_order or family.canvas.color_order,
        ),
        normalize=normalize,
        candidates=candidates,
        max_batch_size=spec.max_batch_size if source.batch is None else 1,
        graph=graph,
        raw_ranks={name: values.ndim for name, values in head.outputs.items()},
    )


def _plan_classifier(spec: Classifier, detector: DetectorPlan | None, fp16: bool, report: Report) -> ClassifierPlan:
    key = f"classifiers.{spec.name}"
    report(f"{spec.name}: reading {spec.weights.title}")
    read = read_source(spec.weights, f"{key}.weights", spec.crop.size)
    own = read.preprocessing
    source = read_input(read.model)
    height, width = _settle_size(source, spec.crop.size or own.size, f"{key}.crop.size")
    model, source = _open_batch(read.model, source, height, width, report)
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
    labels = _labels(spec.labels, read, f"{key}.labels")
    if len(labels) != logits.size:
        raise PipelineError(f"{key}.labels: {len(labels)} names, but the graph gives {logits.size} classes")
    top_k = min(spec.top_k, len(labels))
    normalize = spec.normalize or own.normalize or Normalize()
    report(f"{spec.name}: {height} x {width}, {len(labels)} labels; writing {spec.activation} and top-{top_k}")
    return ClassifierPlan(
        spec=spec,
        source=read,
        labels=labels,
        only=_class_ids(spec, detector, key),
        crop=CropSpec(
            height=height,
            width=width,
            padding=spec.crop.padding,
            keep_aspect=spec.crop.keep_aspect,
            # A box is the object already: the margin that whole pictures are cut to the centre for is not around it.
            resize_shorter=_first(spec.crop.resize_shorter, None if detector else own.resize_shorter, 0),
            pad_value=spec.crop.pad_value,
            interpolation=spec.crop.interpolation or own.interpolation or "linear",
            color_order=spec.crop.color_order or own.color_order or "rgb",
        ),
        normalize=normalize,
        top_k=top_k,
        max_batch_size=detector.spec.max_detections if detector else batch,
        graph=build_classifier(
            to_fp16(model) if fp16 else model,
            source,
            output,
            height=height,
            width=width,
            normalize=normalize,
            activation=spec.activation,
            threshold=spec.threshold,
            top_k=top_k,
        ),
        raw_output=output,
    )


def _labels(labels: Labels | None, source: Source, key: str) -> tuple[str, ...]:
    """The names that the pipeline file gives, or else the weights' own."""
    if labels is not None:
        return read_labels(labels, key)
    if source.labels is None:
        raise PipelineError(f"{key}: missing, and the weights do not name their classes; add it")
    return source.labels


def _read_anchors(file: Path | None) -> NDArray[np.float32] | None:
    if file is None:
        return None
    try:
        anchors = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PipelineError(f"detector.anchors: {file} cannot be read ({error}); expected a .npy file") from error
    if anchors.ndim != 2 or anchors.shape[1] != 4:
        raise PipelineError(f"detector.anchors: {file} holds {list(anchors.shape)}; expected [N, 4], xyxy in pixels")
    return np.asarray(anchors, np.float32)


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


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
    model: onnx.ModelProto, source: SourceInput, height: int, width: int, report: Report
) -> tuple[onnx.ModelProto, SourceInput]:
    """The graph with a batch of any size where it can have one; where not, one picture, and the report says why."""
    opened = with_dynamic_batch(model, source, height, width)
    if isinstance(opened, str):
        report(f"  one picture at a time: {opened}")
        return model, replace(source, batch=1)
    return opened, read_input(opened)


def _class_ids(spec: Classifier, detector: DetectorPlan | None, key: str) -> tuple[int, ...]:
    if spec.only is None or detector is None:
        return ()
    ids = {name: index for index, name in enumerate(detector.labels)}
    if unknown := [name for name in spec.only if name not in ids]:
        known = ", ".join(detector.labels)
        raise PipelineError(f"{key}.only: the detector has no class {unknown[0]!r}; it has {known}")
    return tuple(sorted(ids[name] for name in spec.only))
