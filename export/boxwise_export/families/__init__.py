"""Detector families: what a head gives, and how it becomes boxes and scores, written into the graph.

A family is a module with one `Family`; it is recognised from the outputs of the graph itself.
"""

from __future__ import annotations

from boxwise_export.errors import GraphError
from boxwise_export.families import centernet, generic, nanodet, yolov5, yolov8, yolov10, yolox
from boxwise_export.families.base import CanvasDefaults, Decoded, Family, Head, Mismatch, Outputs, Reading, shapes

__all__ = ["FAMILIES", "CanvasDefaults", "Decoded", "Family", "Head", "Mismatch", "Outputs", "Reading", "find_family"]

# In the order in which they are asked: what could be read in two ways is read in the first.
FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY for module in (centernet, yolov8, yolox, yolov5, yolov10, nanodet, generic)
}


def find_family(name: str | None, head: Head) -> tuple[Family, Reading]:
    """The family named, or else the first that recognises this head, and how it reads it.

    Args:
        name: `family:` of the pipeline file, or what the source says it is; None to find out.
        head: what the graph gives.

    Raises:
        GraphError: no such family, or none that reads this head; says the shapes found, the nearest family and the
            missing piece.
    """
    if name is not None and name not in FAMILIES:
        raise GraphError(f"detector.family: {name!r} is not known; expected one of {', '.join(FAMILIES)}")
    asked = list(FAMILIES.values()) if name is None else [FAMILIES[name]]
    misses: list[tuple[Family, Mismatch]] = []
    for family in asked:
        result = family.read(head)
        if isinstance(result, Reading):
            return family, result
        misses.append((family, result))
    nearest, miss = max(misses, key=lambda pair: pair[1].met)
    found = f"detector: the graph gives {shapes(head.outputs)}"
    if name is not None:
        raise GraphError(f"{found}; family {name} needs {miss.missing}")
    raise GraphError(
        f"{found}, and no family reads that; the nearest is {nearest.name}, which needs {miss.missing}; "
        "`family:` overrules, and `family: generic` with `tensors:` reads boxes and scores that the graph gives decoded"
    )
