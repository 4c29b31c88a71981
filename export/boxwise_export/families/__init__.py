"""Detector families: what a head gives, and how it becomes boxes and scores, written into the graph.

A family is a module with one class; it is recognised from the outputs of the graph itself.
"""

from __future__ import annotations

from boxwise_export.errors import GraphError
from boxwise_export.families.base import CanvasDefaults, Decoded, Family, Outputs
from boxwise_export.families.centernet import CenterNet
from boxwise_export.families.yolox import Yolox

__all__ = ["FAMILIES", "CanvasDefaults", "Decoded", "Family", "Outputs", "find_family"]

FAMILIES: dict[str, Family] = {family.name: family for family in (CenterNet(), Yolox())}


def find_family(name: str | None, outputs: Outputs, height: int, width: int) -> Family:
    """The family named, or else the one that recognises these outputs.

    Args:
        name: `family:` of the pipeline file, or None.
        outputs: what the graph gave for one picture.
        height: of the canvas, pixels.
        width: of the canvas, pixels.

    Raises:
        GraphError: no such family, or one that cannot read these outputs; says what was found and what is missing.
    """
    if name is not None and name not in FAMILIES:
        raise GraphError(f"detector.family: {name!r} is not known; expected one of {', '.join(FAMILIES)}")
    asked = list(FAMILIES.values()) if name is None else [FAMILIES[name]]
    missing = {family.name: family.mismatch(outputs, height, width) for family in asked}
    for family in asked:
        if missing[family.name] is None:
            return family
    found = ", ".join(f"{tensor} {list(values.shape)}" for tensor, values in outputs.items())
    reasons = "; ".join(f"{family} needs {reason}" for family, reason in missing.items())
    raise GraphError(f"detector: the graph gives {found}, and no family reads that: {reasons}")
