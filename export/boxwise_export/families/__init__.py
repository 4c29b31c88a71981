"""Detector families: what a head gives, and how it becomes boxes and scores, written into the graph.

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
    retinanet,
    ssd,
    yolov5,
    yolov8,
    yolov10,
    yolox,
)
from boxwise_export.families.base import CanvasDefaults, Decoded, Family, Head, Mismatch, Outputs, Reading, shapes

__all__ = ["FAMILIES", "CanvasDefaults", "Decoded", "Family", "Head", "Mismatch", "Outputs", "Reading", "find_family"]

# In the order in which they are asked: what could be read in two ways is read in the first.
FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        *(centernet, yolov8, yolox, yolov5, yolov10, nanodet),
        *(detr, faster_rcnn, ssd, retinanet, fcos, generic),
    )
}


def read_head(head: Head) -> dict[str, Reading | Mismatch]:
    """What every family makes of a head, by name, in the order in which they are asked."""
    return {name: family.read(head) for name, family in FAMILIES.items()}


def find_family(name: str | None, head: Head) -> tuple[Family, Reading]:
    """The family named, or else the first that recognises this head, and how it reads it.

    Args:
        name: `family:` of the pipeline file, or what the source says it is; None to find out.
        head: what the graph gives.

    Raises:
        GraphError: no such family, or none that reads this head; says the shapes found, the nearest family and the
            missing piece.
    """
    found = f"detector: the graph gives {shapes(head.outputs)}"
    if name is None and head.tensors is not None:
        name = generic.FAMILY.name
    if name is not None:
        if name not in FAMILIES:
            raise GraphError(f"detector.family: {name!r} is not known; expected one of {', '.join(FAMILIES)}")
        result = FAMILIES[name].read(head)
        if isinstance(result, Mismatch):
            raise GraphError(f"{found}; family {name} needs {result.missing}")
        return FAMILIES[name], result
    results = read_head(head)
    for recognised, result in results.items():
        if isinstance(result, Reading):
            return FAMILIES[recognised], result
    nearest, missing = nearest_family(results)
    raise GraphError(
        f"{found}, and no family reads that; the nearest is {nearest}, which needs {missing}; "
        "`family:` overrules, and `family: generic` with `tensors:` reads boxes and scores that the graph gives decoded"
    )


def nearest_family(results: Mapping[str, Reading | Mismatch]) -> tuple[str, str]:
    """Of families that cannot read a head, the one that comes nearest, and the piece that it misses."""
    misses = {name: result for name, result in results.items() if isinstance(result, Mismatch)}
    name = max(misses, key=lambda each: misses[each].met)
    return name, misses[name].missing
