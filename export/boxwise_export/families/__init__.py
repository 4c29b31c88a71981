"""Detector families: what a head gives, and how it becomes boxes and scores, written into the
graph.

A family is a module with one `Family`; it is recognised from the outputs of the graph itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from boxwise_export.errors import GraphError
from boxwise_export.families import (
    centernet,
    detr,
    faster_rcnn,
    fcos,
    generic,
    nanodet,
    picodet,
    retinanet,
    ssd,
    yolov5,
    yolov8,
    yolov10,
    yolox,
)
from boxwise_export.families.base import (
    CanvasDefaults,
    Decoded,
    Family,
    Head,
    Mismatch,
    Outputs,
    Question,
    Reading,
    Result,
    shapes,
)
from boxwise_export.families.unserved import describe

__all__ = [
    "FAMILIES",
    "CanvasDefaults",
    "Decoded",
    "Family",
    "Head",
    "Mismatch",
    "Outputs",
    "Question",
    "Reading",
    "Result",
    "find_family",
]

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        *(centernet, yolov8, yolox, yolov5, yolov10, nanodet, picodet),
        *(detr, faster_rcnn, ssd, retinanet, fcos, generic),
    )
}


# The way forward for a graph that no family recognises.
BY_NAME = (
    "`family: generic` with `tensors:` reads boxes and scores that the graph gives decoded, in "
    "outputs of their own or in the columns of one"
)


def read_head(head: Head) -> dict[str, Result]:
    """What every family makes of a head, by name."""
    return {name: family.read(head) for name, family in FAMILIES.items()}


def recognise(results: Mapping[str, Result], names: int | None) -> dict[str, Reading | Question]:
    """The families that read a head, those first whose classes are as many as the names.

    More than one is a question: nothing in the head tells them apart.
    """
    known = {name: each for name, each in results.items() if not isinstance(each, Mismatch)}
    fitting = {name: each for name, each in known.items() if _fits(each, names)}
    return (
        fitting
        or {name: each for name, each in known.items() if isinstance(each, Reading)}
        or known
    )


def _fits(result: Reading | Question, names: int | None) -> bool:
    if isinstance(result, Question):
        return result.fits
    return names is None or result.classes in (None, names, names - (result.unnamed != "none"))


def find_family(name: str | None, head: Head) -> tuple[Family, Reading]:
    """The family named, or else the one that recognises this head, and how it reads it.

    Args:
        name: `family:` of the pipeline file, or what the source says it is; None to find out.
        head: what the graph gives.

    Raises:
        GraphError: no such family; none that reads this head, with the shapes found, the nearest
            family and the missing piece; or more than one reading, with the keys that choose.
    """
    found = f"detector: the graph gives {shapes(head.outputs)}"
    if name is None and head.tensors is not None:
        name = generic.FAMILY.name
    if name not in (None, *FAMILIES):
        raise GraphError(
            f"detector.family: {name!r} is not known; expected one of {', '.join(FAMILIES)}"
        )
    if name != generic.FAMILY.name and (what := describe(head)):
        raise GraphError(f"{found}: {what}")
    if name is not None:
        result = FAMILIES[name].read(head)
        if isinstance(result, Mismatch):
            raise GraphError(f"{found}; family {name} needs {result.missing}")
        return _settled(name, result, head)
    results = read_head(head)
    recognised = recognise(results, head.classes)
    if len(recognised) > 1:
        ways = "; ".join(
            f"`family: {each}` ({_reason(result)})" for each, result in recognised.items()
        )
        raise GraphError(
            f"{found}, which more than one family reads. Choose in the pipeline file: {ways}"
        )
    for each, result in recognised.items():
        return _settled(each, result, head)
    nearest, missing = nearest_family(results)
    raise GraphError(
        f"{found}, and no family reads that; the nearest is {nearest}, which needs {missing}; "
        f"`family:` overrules, and {BY_NAME}"
    )


def _settled(name: str, result: Reading | Question, head: Head) -> tuple[Family, Reading]:
    if isinstance(result, Question):
        raise GraphError(f"detector: family {name}: {result}")
    family = FAMILIES[name]
    if not family.chooses and (head.activation or head.background):
        key = "activation" if head.activation else "background"
        raise GraphError(
            f"detector.{key}: family {name} gives scores of its classes, and no background; "
            "leave it out"
        )
    return family, result


def _reason(result: Reading | Question) -> str:
    return result.why.partition(": ")[2] if isinstance(result, Reading) else str(result)


def nearest_family(results: Mapping[str, Result]) -> tuple[str, str]:
    """Of families that cannot read a head, the one that comes nearest, and the piece that it
    misses.
    """
    misses = {name: result for name, result in results.items() if isinstance(result, Mismatch)}
    name = max(misses, key=lambda each: misses[each].met)
    return name, misses[name].missing
