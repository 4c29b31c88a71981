"""Inspect a checkpoint: what boxwise recognises in it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from boxwise_export.checkpoints import Preprocessing
from boxwise_export.checkpoints.network import Network, Report, read_network
from boxwise_export.errors import ExportError, PipelineError
from boxwise_export.export import running
from boxwise_export.families import (
    BY_NAME,
    FAMILIES,
    Question,
    Reading,
    Result,
    nearest_family,
    read_head,
    recognise,
)
from boxwise_export.families.activation import last_operator, settle_activation
from boxwise_export.families.unserved import describe
from boxwise_export.graphs.source import probe_unlike
from boxwise_export.observed import contact_sheet, observe, warnings
from boxwise_export.parity.gate import find_images, read_image, spread
from boxwise_export.pipeline import Canvas, Classifier, Crop, Detector, Labels, Pipeline, Weights
from boxwise_export.plan import head_of, make_plan

_MOST_DRAWN = 64  # images
_UNKNOWN = 1000  # names of a detector that gives classes by number


@dataclass(frozen=True)
class Inspection:
    """What was recognised in a checkpoint.

    Attributes:
        weights: the checkpoint.
        origin: what read it.
        sha256: of the file.
        licence: of the weights, if known.
        input: name and shape, as "images [batch, 3, 416, 416]".
        outputs: name -> shape, for one image.
        kind: "detector", "classifier", or None if it is neither.
        family: of a detector.
        why: how it was recognised, or what the nearest family misses.
        others: further families that fit, which `family:` can choose.
        classes: their number, if the graph shows it.
        labels: the names of its classes, if the weights hold them.
        preprocessing: from the weights' own metadata, or the family's.
        batch: "any", or why the graph takes one image at a time.
        assumed: what was concluded, each a sentence with its reason.
        metadata: other metadata of the checkpoint: task, author, description, stride.
    """

    weights: str
    origin: str
    sha256: str
    licence: str | None
    input: str
    outputs: Mapping[str, list[int]]
    kind: str | None
    family: str | None
    why: str
    others: tuple[str, ...]
    classes: int | None
    labels: tuple[str, ...] | None
    preprocessing: Mapping[str, Any]
    batch: str
    assumed: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the inspection as JSON types."""
        return asdict(self)


def inspect(weights: Weights, size: tuple[int, int] | None = None) -> Inspection:
    """Read a checkpoint, run it once, and try every family.

    Args:
        weights: the checkpoint.
        size: height and width of its input, if the graph takes any.

    Raises:
        ExportError: it cannot be read or run; has the fix.
    """
    network = read_network(weights, size, "model", "--size", lambda _: None)
    source = network.source
    head = head_of(network, source.labels)
    other, results = describe(head), read_head(head)
    recognised = {} if other else recognise(results, head.classes)
    if source.family in recognised:  # the framework knows best
        recognised = {source.family: recognised.pop(source.family), **recognised}
    family, result = next(iter(recognised.items()), (None, None))
    classifies = None if other and source.metadata.task != "classify" else _classifies(network)
    if isinstance(result, Reading):
        classes, assumed = result.classes, result.assumed
    elif classifies:
        classes = None if family else next(iter(network.outputs.values())).size
        assumed = _activation(network)
    else:
        classes, assumed = None, ()
    return Inspection(
        weights=weights.title,
        origin=source.origin,
        sha256=source.digest,
        licence=source.licence,
        input=_input(network),
        outputs={name: list(values.shape) for name, values in network.outputs.items()},
        kind="detector" if family else "classifier" if classifies else None,
        family=family,
        why=_why(result, classifies, other, results),
        others=tuple(recognised)[1:],
        classes=classes,
        labels=source.labels,
        preprocessing=_preprocessing(network, family),
        batch=network.alone or "any",
        assumed=assumed,
        metadata={
            name: value for name, value in vars(source.metadata).items() if value is not None
        },
    )


def draw(
    weights: Weights,
    seen: Inspection,
    images: Path,
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    family: str | None = None,
    labels: Labels | None = None,
    report: Report = lambda _: None,
) -> list[str]:
    """Run a checkpoint on images, and write them annotated, with a contact sheet.

    Args:
        weights: the checkpoint.
        seen: the result of `inspect`.
        images: a folder of images.
        out: a folder for the results; created if missing.
        size: see `inspect`.
        family: that reads it; None for the recognised one.
        labels: as in the pipeline file; None for the weights' own, or numbers.
        report: told each step.

    Returns:
        Warnings about the detections, each a sentence.

    Raises:
        ExportError: it cannot be read, is not recognised, or a file cannot be written.
    """
    if seen.kind is None:
        raise ExportError(f"{weights.title}: {seen.why}")
    names = labels or (
        list(seen.labels)
        if seen.labels
        else [f"class {row}" for row in range(seen.classes or _UNKNOWN)]
    )
    if seen.kind == "detector":
        detector = Detector(weights=weights, family=family, labels=names, canvas=Canvas(size=size))
        pipeline = Pipeline(name="inspect", detector=detector)
    else:
        pipeline = Pipeline(
            name="inspect",
            classifiers=[
                Classifier(name="label", weights=weights, labels=names, crop=Crop(size=size))
            ],
        )
    plan = make_plan(pipeline, report=report)
    chosen = spread(find_images(images, "--images"), _MOST_DRAWN)
    with running(plan) as runner:
        frames = [(path.name, read_image(path, plan.limits.max_pixels)) for path in chosen]
        observed = observe(plan, runner, frames)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, each in enumerate(observed, 1):
            each.drawn().save(out / f"{number:03}-{Path(each.name).stem}.jpg", quality=90)
        (out / "contact-sheet.jpg").write_bytes(contact_sheet(observed))
    except OSError as error:
        raise ExportError(f"--draw: {out}: cannot be written ({error.strerror})") from error
    if plan.detector is None:
        return []
    return list(warnings(observed, plan.detector.spec.score_threshold, plan.max_detections))


def _why(
    result: Reading | Question | None,
    classifies: str | None,
    other: str | None,
    results: Mapping[str, Result],
) -> str:
    if isinstance(result, Reading):
        return result.why
    if result is not None:
        return f"a question is open: {result}"
    if classifies or other:
        return classifies or str(other)
    nearest, missing = nearest_family(results)
    return f"the nearest family is {nearest}, which needs {missing}; {BY_NAME}"


def _activation(network: Network) -> tuple[str, ...]:
    """Return what an export would conclude about a classifier's activation, or its question."""
    (output,) = network.outputs
    values = probe_unlike(network.model, network.input, network.height, network.width, output)
    try:
        _, assumed = settle_activation(
            None, last_operator(network.model, output), values, "classifier"
        )
    except PipelineError as error:
        return (f"a question is open: {error}",)
    return assumed


def _classifies(network: Network) -> str | None:
    """Return why the graph looks like a classifier; None if it does not."""
    if len(network.outputs) != 1:
        return None
    ((name, values),) = network.outputs.items()
    if values.size < 2 or values.size != values.shape[-1] * len(values) or len(values) != 1:
        return None
    return f"one output {name} {list(values.shape)}: a number for each of {values.size} classes"


def _input(network: Network) -> str:
    batch = 1 if network.alone else "batch"
    sides = [network.height, network.width]
    channels = network.input.channels
    shape = (
        [batch, channels, *sides] if network.input.layout == "NCHW" else [batch, *sides, channels]
    )
    return f"{network.input.name} [{', '.join(map(str, shape))}]"


def _preprocessing(network: Network, family: str | None) -> dict[str, Any]:
    """Return each setting as [its value, its source]."""
    said: dict[str, Any] = {"size": [(network.height, network.width), "the graph"]}
    if network.input.height is None:
        said["size"][1] = "the weights" if network.source.preprocessing.size else "--size"
    own = network.source.preprocessing
    usual = FAMILIES[family].canvas if family else Preprocessing()
    for name in (
        "resize",
        "resize_shorter",
        "pad_value",
        "interpolation",
        "color_order",
        "normalize",
    ):
        for value, who in (
            (getattr(own, name, None), "the weights"),
            (getattr(usual, name, None), f"{family}'s way"),
        ):
            if value is not None:
                said[name] = [value.model_dump() if hasattr(value, "model_dump") else value, who]
                break
    return said
