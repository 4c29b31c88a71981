"""A pipeline file and its checkpoints become a plan: every graph built and every number settled, nothing written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from boxwise_export.arrangement import Arrangement
from boxwise_export.arrays import read_anchors, read_prototypes
from boxwise_export.errors import GraphError, PipelineError
from boxwise_export.families import Head, Reading, find_family
from boxwise_export.graph.classifier import build_classifier, unit_vectors
from boxwise_export.graph.detector import build_detector
from boxwise_export.graph.light import give_back_memory
from boxwise_export.graph.precision import to_fp16
from boxwise_export.graph.source import Layout
from boxwise_export.labels import read_labels
from boxwise_export.network import Report, read_network
from boxwise_export.pipeline import MAX_CANDIDATES, Classifier, Detector, Labels, Normalize, Pipeline, Precision
from boxwise_export.sources import Source
from boxwise_runtime.canvas import ColorOrder, Interpolation, Resize
from boxwise_runtime.crop import CropSpec
from boxwise_runtime.decode import MEGA, PictureLimits

# More processes than this share caches and memory bandwidth and gain nothing; the cores left over become threads.
_MOST_INSTANCES = 8
# Batches of a classifier across requests, where the pipeline itself asks about one picture at a time.
_WHOLE_PICTURE_BATCH = 8
# Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020), 2.5: the
# temperature of CLIP's softmax is trained, and ends at its bound of 100.
CLIP_SCALE = 100.0


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
    layout: Layout
    raw_ranks: Mapping[str, int]


@dataclass(frozen=True)
class ClassifierPlan:
    """A classifier, ready to be published.

    `only` holds detector class ids, none for all; `similarity`, float32 [C, D], is what unit embeddings are multiplied
    with to be logits, where there are prototypes.
    """

    spec: Classifier
    source: Source
    labels: tuple[str, ...]
    only: tuple[int, ...]
    crop: CropSpec
    normalize: Normalize
    top_k: int
    max_batch_size: int
    graph: onnx.ModelProto
    layout: Layout
    raw_output: str
    similarity: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Plan:
    """A whole pipeline, ready to be published.

    Attributes:
        name: of the pipeline.
        detector: or None.
        classifiers: any number.
        limits: of a picture.
        instances: processes of each stage that is worth more than one.
        threads: of each model instance.
        precision: of the graphs.
        arrangement: the layout, and what the pipeline file says of processes and threads.
        warmup_picture: a JPEG that each server is asked about before it is ready; none where none was compared on.
    """

    name: str
    detector: DetectorPlan | None
    classifiers: tuple[ClassifierPlan, ...]
    limits: PictureLimits
    instances: int
    threads: int
    precision: Precision = "fp32"
    arrangement: Arrangement = field(default_factory=Arrangement)
    warmup_picture: bytes = b""

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
    classifiers = [_plan_classifier(classifier, detector, fp16, report) for classifier in pipeline.classifiers]
    give_back_memory()  # of the graphs on the way
    return Plan(
        name=pipeline.name,
        detector=detector,
        classifiers=tuple(classifiers),
        limits=PictureLimits(
            max_pixels=round(pipeline.max_megapixels * MEGA),
            max_bytes=round(pipeline.max_megabytes * MEGA),
            max_aspect=pipeline.max_aspect,
        ),
        instances=instances,
        threads=max(1, cores // instances),
        precision="fp16" if fp16 else "fp32",
        arrangement=Arrangement(pipeline.layout, **pipeline.serving.model_dump()),
    )


def _plan_detector(spec: Detector, fp16: bool, report: Report) -> DetectorPlan:
    report(f"detector: reading {spec.weights.title}")
    network = read_network(spec.weights, spec.canvas.size, "detector", "detector.canvas.size", report)
    own, height, width = network.source.preprocessing, network.height, network.width
    labels = _labels(spec.labels, network.source, "detector.labels")
    head = Head(
        network.outputs,
        height,
        width,
        classes=len(labels),
        anchors=read_anchors(spec.anchors) if spec.anchors else network.source.anchors,
        tensors=spec.tensors,
    )
    _introduce(network.source, report)
    family, reading = find_family(spec.family or network.source.family, head)
    if reading.classes not in (None, len(labels)):
        raise PipelineError(f"detector.labels: {len(labels)} names, but the graph gives {reading.classes} classes")
    report(f"detector: {family.name}, {height} x {width}; writing its decoding into the graph")
    normalize = spec.normalize or own.normalize or family.canvas.normalize
    graph, candidates = build_detector(
        to_fp16(network.model) if fp16 else network.model,
        network.input,
        reading,
        height=height,
        width=width,
        normalize=normalize,
        candidates=spec.candidates or MAX_CANDIDATES,
    )
    return DetectorPlan(
        spec=spec,
        source=network.source,
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
        max_batch_size=1 if network.alone else spec.max_batch_size,
        graph=graph,
        layout=network.input.layout,
        raw_ranks={name: values.ndim for name, values in network.outputs.items()},
    )


def _plan_classifier(spec: Classifier, detector: DetectorPlan | None, fp16: bool, report: Report) -> ClassifierPlan:
    key = f"classifiers.{spec.name}"
    report(f"{spec.name}: reading {spec.weights.title}")
    network = read_network(spec.weights, spec.crop.size, key, f"{key}.crop.size", report)
    own, height, width, outputs = network.source.preprocessing, network.height, network.width, network.outputs
    if network.alone and detector is not None:
        raise GraphError(
            f"{key}.weights: the graph takes one crop at a time ({network.alone}); export it again with a dynamic batch"
        )
    _introduce(network.source, report)
    batch = 1 if network.alone else _WHOLE_PICTURE_BATCH
    if len(outputs) != 1:
        raise GraphError(f"{key}.weights: gives {', '.join(outputs)}; name the logits in `outputs: [...]`")
    ((output, logits),) = outputs.items()
    labels = _labels(spec.labels, network.source, f"{key}.labels")
    prototypes = read_prototypes(spec.prototypes, logits.size, key) if spec.prototypes else None
    classes, who = (
        (logits.size, "the graph gives") if prototypes is None else (len(prototypes), "there are prototypes of")
    )
    if len(labels) != classes:
        raise PipelineError(f"{key}.labels: {len(labels)} names, but {who} {classes} classes")
    top_k = min(spec.top_k, len(labels))
    logit_scale = 1.0 if spec.activation == "none" else spec.logit_scale or CLIP_SCALE
    similarity = None if prototypes is None else logit_scale * unit_vectors(prototypes)
    normalize = spec.normalize or own.normalize or Normalize()
    report(f"{spec.name}: {height} x {width}, {len(labels)} labels; writing {spec.activation} and top-{top_k}")
    return ClassifierPlan(
        spec=spec,
        source=network.source,
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
            to_fp16(network.model) if fp16 else network.model,
            network.input,
            output,
            height=height,
            width=width,
            normalize=normalize,
            activation=spec.activation,
            threshold=spec.threshold,
            top_k=top_k,
            similarity=similarity,
        ),
        layout=network.input.layout,
        raw_output=output,
        similarity=similarity,
    )


def _introduce(source: Source, report: Report) -> None:
    """Say what was read, its licence, and what its metadata says of the preprocessing."""
    report(f"  {source.origin}; licence: {source.licence or 'not said by the source'}")
    if said := {name: value for name, value in vars(source.preprocessing).items() if value is not None}:
        texts = {name: value.text if isinstance(value, Normalize) else str(value) for name, value in said.items()}
        report(f"  its own preprocessing: {', '.join(f'{name} {text}' for name, text in texts.items())}")


def _labels(labels: Labels | None, source: Source, key: str) -> tuple[str, ...]:
    """The names that the pipeline file gives, or else the weights' own."""
    if labels is not None:
        return read_labels(labels, key)
    if source.labels is None:
        raise PipelineError(f"{key}: missing, and the weights do not name their classes; add it")
    return source.labels


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _class_ids(spec: Classifier, detector: DetectorPlan | None, key: str) -> tuple[int, ...]:
    if spec.only is None or detector is None:
        return ()
    ids = {name: index for index, name in enumerate(detector.labels)}
    if unknown := [name for name in spec.only if name not in ids]:
        known = ", ".join(detector.labels)
        raise PipelineError(f"{key}.only: the detector has no class {unknown[0]!r}; it has {known}")
    return tuple(sorted(ids[name] for name in spec.only))
