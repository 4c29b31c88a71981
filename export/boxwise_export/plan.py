"""Turn a pipeline file and its checkpoints into a plan: every graph built, every number settled,
nothing written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
import onnx
from numpy.typing import NDArray

from boxwise_contract.limits import MEGA, ImageLimits
from boxwise_export.arrays import read_anchors, read_prototypes
from boxwise_export.checkpoints import Source
from boxwise_export.checkpoints.network import Network, Report, read_network
from boxwise_export.errors import GraphError, PipelineError
from boxwise_export.families import Head, Reading, find_family
from boxwise_export.families.activation import last_operator, settle_activation
from boxwise_export.families.base import CanvasDefaults
from boxwise_export.families.unserved import describe
from boxwise_export.graphs.classifier import build_classifier, unit_vectors
from boxwise_export.graphs.detector import build_detector
from boxwise_export.graphs.large_models import give_back_memory
from boxwise_export.graphs.precision import to_fp16
from boxwise_export.graphs.source import SourceInput, probe_unlike
from boxwise_export.labels import read_labels
from boxwise_export.pipeline import (
    MAX_CANDIDATES,
    Activation,
    Canvas,
    Classifier,
    Detector,
    Labels,
    Normalize,
    Pipeline,
    Precision,
)
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_runtime.canvas import ColorOrder, Interpolation, Resize
from boxwise_runtime.crop import CropSpec
from boxwise_runtime.fitting import MOST_INSTANCES
from boxwise_runtime.resources import available

# Batches across requests of a classifier that runs on whole images.
_WHOLE_PICTURE_BATCH = 8
# Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
# (arXiv:2103.00020), 2.5: the trained temperature of CLIP's softmax ends at its bound of 100.
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
    """A detector, ready to be published.

    `multi_label` is settled, see `pipeline.Nms`. `notes` has what was concluded, and where a
    setting differs from the weights' metadata, each a sentence.
    """

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
    input: SourceInput
    raw_ranks: Mapping[str, int]
    multi_label: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassifierPlan:
    """A classifier, ready to be published.

    `only` holds detector class ids, empty for all. With prototypes, unit embeddings times
    `similarity`, float32 [C, D], are the logits. `notes` as in `DetectorPlan`.
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
    input: SourceInput
    raw_output: str
    activation: Activation
    similarity: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A whole pipeline, ready to be published.

    Attributes:
        name: of the pipeline.
        detector: or None.
        classifiers: any number.
        limits: of an image.
        instances: processes of each stage that is worth more than one.
        threads: of each model instance.
        precision: of the graphs.
        serving: the layout, the processes and the threads, settled.
        warmup_image: a JPEG for the warm-up request; empty without images to compare on.
    """

    name: str
    detector: DetectorPlan | None
    classifiers: tuple[ClassifierPlan, ...]
    limits: ImageLimits
    instances: int
    threads: int
    precision: Precision = "fp32"
    serving: ServingConfig = field(default_factory=ServingConfig)
    warmup_image: bytes = b""

    @property
    def max_detections(self) -> int:
        """The maximum number of detections in a response."""
        return self.detector.spec.max_detections if self.detector else 1


def make_plan(
    pipeline: Pipeline,
    *,
    cores: int | None = None,
    fp16: bool = False,
    report: Report = lambda _: None,
) -> Plan:
    """Read the checkpoints, build the graphs, and settle what the pipeline file leaves open.

    Args:
        pipeline: the pipeline file.
        cores: of the machine that will serve; None: instances follow the cores of whichever
            machine serves.
        fp16: whether the networks are rewritten in fp16; decoding stays in fp32.
        report: told each step.

    Raises:
        ExportError: a checkpoint, a graph or a key is wrong; names it, what was expected, and the
            fix.
    """
    serving = pipeline.serving
    by_cores = cores is None and not serving.instances and serving.threads is None
    cores = cores or available().cores
    instances = min(cores, MOST_INSTANCES)
    detector = _plan_detector(pipeline.detector, fp16, report) if pipeline.detector else None
    classifiers = [
        _plan_classifier(classifier, detector, fp16, report) for classifier in pipeline.classifiers
    ]
    give_back_memory()  # of the graphs on the way
    threads = max(1, cores // instances)
    stages = ["preprocess", "detector", "nms"] if detector else ["whole_picture"]
    stages += [f"classifier_{classifier.spec.name}" for classifier in classifiers]
    stages += ["assemble"] if classifiers else []
    return Plan(
        name=pipeline.name,
        detector=detector,
        classifiers=tuple(classifiers),
        limits=ImageLimits(
            max_pixels=round(pipeline.max_megapixels * MEGA),
            max_bytes=round(pipeline.max_megabytes * MEGA),
            max_aspect=pipeline.max_aspect,
        ),
        instances=instances,
        threads=threads,
        precision="fp16" if fp16 else "fp32",
        serving=ServingConfig(pipeline.layout, by_cores=by_cores, **serving.model_dump()).settled(
            stages,
            instances=instances,
            threads=threads,
            max_batch_size=detector.max_batch_size if detector else None,
        ),
    )


def _plan_detector(spec: Detector, fp16: bool, report: Report) -> DetectorPlan:
    report(f"detector: reading {spec.weights.title}")
    network = read_network(
        spec.weights, spec.canvas.size, "detector", "detector.canvas.size", report
    )
    own, height, width = network.source.preprocessing, network.height, network.width
    _introduce(network.source, report)
    names, notes = _labels(spec.labels, network.source, "detector.labels")
    family, reading = find_family(
        spec.family or network.source.family, head_of(network, names, spec)
    )
    labels = reading.class_names(names)
    _require_names(len(labels), reading.classes, "detector.labels")
    if spec.nms.class_agnostic and not reading.nms:
        raise PipelineError(
            "detector.nms.class_agnostic: the detector gives one box an object, without "
            "NMS; leave it out"
        )
    multi_label = family.multi_label if spec.nms.multi_label is None else spec.nms.multi_label
    normalize = _normalize(
        spec.normalize, own.normalize or family.canvas.normalize, network, "detector.normalize"
    )
    graph, candidates = build_detector(
        to_fp16(network.model) if fp16 else network.model,
        network.input,
        reading,
        height=height,
        width=width,
        normalize=normalize,
        candidates=spec.candidates or MAX_CANDIDATES,
        multi_label=multi_label,
    )
    report(f"detector: {family.name}, {height} x {width}; writing its decoding into the graph")
    notes = (*notes, *reading.assumed)
    _report_notes(notes, report)
    return DetectorPlan(
        spec=spec,
        source=network.source,
        family=family.name,
        reading=reading,
        labels=labels,
        canvas=_canvas(network, spec.canvas, family.canvas),
        normalize=normalize,
        candidates=candidates,
        max_batch_size=1 if network.alone else spec.max_batch_size,
        graph=graph,
        input=network.input,
        raw_ranks={name: values.ndim for name, values in network.outputs.items()},
        multi_label=multi_label,
        notes=notes,
    )


def _canvas(network: Network, given: Canvas, usual: CanvasDefaults) -> CanvasPlan:
    """The pipeline file's settings, else the checkpoint's own, else the family's."""
    own = network.source.preprocessing
    return CanvasPlan(
        height=network.height,
        width=network.width,
        resize=given.resize or own.resize or usual.resize,
        pad_value=_first(given.pad_value, own.pad_value, usual.pad_value),
        interpolation=given.interpolation or own.interpolation or usual.interpolation,
        color_order=given.color_order or own.color_order or usual.color_order,
    )


def head_of(network: Network, names: tuple[str, ...] | None, spec: Detector | None = None) -> Head:
    """Return what a family reads: the outputs, the source's metadata,
    the pipeline file's settings.
    """
    source = network.source
    return Head(
        network.outputs,
        network.height,
        network.width,
        names,
        anchors=read_anchors(spec.anchors) if spec and spec.anchors else source.anchors,
        tensors=spec.tensors if spec else None,
        activation=(spec and spec.activation) or source.activation,
        background=(spec and spec.background) or source.background,
        task=source.metadata.task,
    )


def _plan_classifier(
    spec: Classifier, detector: DetectorPlan | None, fp16: bool, report: Report
) -> ClassifierPlan:
    key = f"classifiers.{spec.name}"
    report(f"{spec.name}: reading {spec.weights.title}")
    network = read_network(spec.weights, spec.crop.size, key, f"{key}.crop.size", report)
    own = network.source.preprocessing
    if network.alone and detector is not None:
        raise GraphError(
            f"{key}.weights: the graph takes one crop at a time ({network.alone}); export "
            "it again with a dynamic batch"
        )
    _introduce(network.source, report)
    output, size = _classifier_output(network, key)
    labels, notes = _labels(spec.labels, network.source, f"{key}.labels")
    prototypes = read_prototypes(spec.prototypes, size, key) if spec.prototypes else None
    if prototypes is None:
        _require_names(len(labels), size, f"{key}.labels")
        values = probe_unlike(network.model, network.input, network.height, network.width, output)
        last = last_operator(network.model, output)
        activation, assumed = settle_activation(spec.activation, last, values, key)
        notes = (*notes, *assumed)
    else:
        activation = spec.activation or "softmax"
        if len(labels) != len(prototypes):
            raise PipelineError(
                f"{key}.labels: {len(labels)} names, but there are prototypes of "
                f"{len(prototypes)} classes"
            )
    if spec.threshold is not None and activation == "softmax":
        raise PipelineError(
            f"{key}.threshold: belongs to labels that are scored by themselves; set "
            "`activation: sigmoid`"
        )
    similarity = None if prototypes is None else _logit_scale(spec) * unit_vectors(prototypes)
    top_k = min(spec.top_k, len(labels))
    normalize = _normalize(
        spec.normalize, own.normalize or Normalize(), network, f"{key}.normalize"
    )
    graph = build_classifier(
        to_fp16(network.model) if fp16 else network.model,
        network.input,
        output,
        height=network.height,
        width=network.width,
        normalize=normalize,
        activation=activation,
        threshold=spec.threshold,
        top_k=top_k,
        similarity=similarity,
    )
    report(
        f"{spec.name}: {network.height} x {network.width}, {len(labels)} labels; writing "
        f"{activation} and top-{top_k}"
    )
    _report_notes(notes, report)
    return ClassifierPlan(
        spec=spec,
        source=network.source,
        labels=labels,
        only=_class_ids(spec, detector, key),
        crop=_crop(spec, network, detector),
        normalize=normalize,
        top_k=top_k,
        max_batch_size=detector.spec.max_detections
        if detector
        else 1
        if network.alone
        else _WHOLE_PICTURE_BATCH,
        graph=graph,
        input=network.input,
        raw_output=output,
        activation=activation,
        similarity=similarity,
        notes=notes,
    )


def _classifier_output(network: Network, key: str) -> tuple[str, int]:
    """Return the name of the only output, and its number of values per image."""
    if (
        what := describe(head_of(network, None))
        if network.source.metadata.task != "classify"
        else None
    ):
        raise GraphError(f"{key}.weights: {what}")
    if len(network.outputs) != 1:
        raise GraphError(
            f"{key}.weights: gives {', '.join(network.outputs)}; name the logits in "
            "`outputs: [...]`"
        )
    ((output, logits),) = network.outputs.items()
    if logits.size != logits.shape[-1] and logits.size != logits.shape[min(1, logits.ndim - 1)]:
        raise GraphError(
            f"{key}.weights: {output} is {list(logits.shape)} for one image; expected one "
            "number for each class"
        )
    return output, logits.size


def _crop(spec: Classifier, network: Network, detector: DetectorPlan | None) -> CropSpec:
    own = network.source.preprocessing
    resize = spec.crop.resize or (0, 0)
    # A box has no margin around its object, for which evaluations cut whole images to the centre.
    usual = 0 if detector or spec.crop.resize or spec.crop.keep_aspect else own.resize_shorter
    return CropSpec(
        height=network.height,
        width=network.width,
        padding=spec.crop.padding,
        keep_aspect=spec.crop.keep_aspect,
        resize_shorter=_first(spec.crop.resize_shorter, usual, 0),
        resize_height=resize[0],
        resize_width=resize[1],
        pad_value=spec.crop.pad_value,
        interpolation=spec.crop.interpolation or own.interpolation or "linear",
        color_order=spec.crop.color_order
        or ("rgb" if network.input.channels == 1 else own.color_order)
        or "rgb",
    )


def _logit_scale(spec: Classifier) -> float:
    return 1.0 if spec.activation == "none" else spec.logit_scale or CLIP_SCALE


def _normalize(asked: Normalize | None, usual: Normalize, network: Network, key: str) -> Normalize:
    """Return the pipeline file's normalisation or the usual one, as the graph's input allows.

    Raises:
        PipelineError: the graph takes integers or grey pixels, and the pipeline file contradicts.
    """
    graph, plain = network.input, Normalize()
    if graph.takes_integers:
        if asked not in (None, plain):
            raise PipelineError(
                f"{key}: the graph takes whole pixels of 0 to 255, and normalises them "
                "itself; leave it out"
            )
        return plain
    chosen = asked or usual
    if graph.channels == 1 and (len({*chosen.mean}) > 1 or len({*chosen.std}) > 1):
        if asked is not None:
            raise PipelineError(
                f"{key}: the graph takes grey images; give one number for `mean` and one for `std`"
            )
        return plain
    return chosen


def _require_names(names: int, classes: int | None, key: str) -> None:
    if classes in (None, names):
        return
    hint = {
        1: "; where one of them is the background, it wants a name too",
        -1: "; where one of the names is the background's, leave it out",
    }.get(classes - names, "")
    raise PipelineError(f"{key}: {names} names, but the graph gives {classes} classes{hint}")


def _report_notes(notes: tuple[str, ...], report: Report) -> None:
    for note in notes:
        report(f"  assumed: {note}")


def _introduce(source: Source, report: Report) -> None:
    """Report what was read, its licence, and the preprocessing in its metadata."""
    report(f"  {source.origin}; licence: {source.licence or 'not said by the source'}")
    if said := {
        name: value for name, value in vars(source.preprocessing).items() if value is not None
    }:
        texts = {
            name: value.text if isinstance(value, Normalize) else str(value)
            for name, value in said.items()
        }
        report(
            "  its own preprocessing: "
            f"{', '.join(f'{name} {text}' for name, text in texts.items())}"
        )


def _labels(
    labels: Labels | None, source: Source, key: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the pipeline file, or else the weights' own, and where the two differ."""
    if labels is None:
        if source.labels is None:
            raise PipelineError(
                f"{key}: missing, and the weights do not name their classes; add it"
            )
        return source.labels, ()
    names = read_labels(labels, key)
    if source.labels in (None, names) or source.labels is None:
        return names, ()
    pairs = list(zip_longest(names, source.labels, fillvalue="no name"))
    row = next(row for row, (one, other) in enumerate(pairs) if one != other)
    difference = (
        f"class {row} is {pairs[row][0]!r} in the pipeline file and {pairs[row][1]!r} in the "
        "weights' metadata"
    )
    return names, (f"labels: the pipeline file's, though {difference}",)


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
