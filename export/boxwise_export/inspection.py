"""What a checkpoint is taken for, and why, before anybody writes a pipeline file for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from boxwise_export.families import FAMILIES, Head, Reading, nearest_family, read_head
from boxwise_export.network import Network, read_network
from boxwise_export.pipeline import Weights
from boxwise_export.sources import Preprocessing


@dataclass(frozen=True)
class Inspection:
    """A checkpoint, looked at.

    Attributes:
        weights: what was looked at.
        origin: what read it.
        sha256: of the file.
        licence: of the weights, where it is known.
        input: name and shape, as "images [batch, 3, 416, 416]".
        outputs: name -> shape, for one picture.
        kind: "detector", "classifier", or None where it is neither that boxwise knows.
        family: of the detector, None otherwise.
        why: how it was recognised, or what the nearest family misses.
        others: further families that read it, which `family:` can choose.
        classes: how many there are, where the graph says so.
        labels: the names of its classes, where the weights hold them.
        preprocessing: by what is known of it: the weights' own metadata, or the family's way.
        batch: "any", or why the graph takes one picture at a time.
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

    def document(self) -> dict[str, Any]:
        """The inspection as JSON."""
        return asdict(self)


def inspect(weights: Weights, size: tuple[int, int] | None = None) -> Inspection:
    """Read a checkpoint, run it once, and ask every family.

    Args:
        weights: what to look at.
        size: height and width of its input, where the graph takes any.

    Raises:
        ExportError: it cannot be read or run; says why, and the mend.
    """
    network = read_network(weights, size, "model", "--size", lambda _: None)
    source = network.source
    labels = None if source.labels is None else len(source.labels)
    results = read_head(Head(network.outputs, network.height, network.width, labels, source.anchors))
    readings = {name: result for name, result in results.items() if isinstance(result, Reading)}
    if source.family in readings:  # the framework knows best
        readings = {source.family: readings.pop(source.family), **readings}
    family = next(iter(readings), None)
    classifies = _classifies(network)
    nearest, missing = nearest_family(results) if family is None else ("", "")
    return Inspection(
        weights=weights.title,
        origin=source.origin,
        sha256=source.digest,
        licence=source.licence,
        input=_input(network),
        outputs={name: list(values.shape) for name, values in network.outputs.items()},
        kind="detector" if family else "classifier" if classifies else None,
        family=family,
        why=readings[family].why if family else classifies or f"the nearest family is {nearest}, which needs {missing}",
        others=tuple(readings)[1:],
        classes=readings[family].classes
        if family
        else next(iter(network.outputs.values())).size
        if classifies
        else None,
        labels=source.labels,
        preprocessing=_preprocessing(network, family),
        batch=network.alone or "any",
    )


def _classifies(network: Network) -> str | None:
    """Why the graph looks like a classifier, if it does."""
    if len(network.outputs) != 1:
        return None
    ((name, values),) = network.outputs.items()
    if values.size < 2 or values.size != values.shape[-1] * len(values) or len(values) != 1:
        return None
    return f"one output {name} {list(values.shape)}: a number for each of {values.size} classes"


def _input(network: Network) -> str:
    batch = 1 if network.alone else "batch"
    sides = [network.height, network.width]
    shape = [batch, 3, *sides] if network.input.layout == "NCHW" else [batch, *sides, 3]
    return f"{network.input.name} [{', '.join(map(str, shape))}]"


def _preprocessing(network: Network, family: str | None) -> dict[str, Any]:
    """Each setting as [its value, who says so]."""
    said: dict[str, Any] = {"size": [(network.height, network.width), "the graph"]}
    if network.input.height is None:
        said["size"][1] = "the weights" if network.source.preprocessing.size else "--size"
    own = network.source.preprocessing
    usual = FAMILIES[family].canvas if family else Preprocessing()
    for name in ("resize", "resize_shorter", "pad_value", "interpolation", "color_order", "normalize"):
        for value, who in ((getattr(own, name, None), "the weights"), (getattr(usual, name, None), f"{family}'s way")):
            if value is not None:
                said[name] = [value.model_dump() if hasattr(value, "model_dump") else value, who]
                break
    return said
