"""Read the metadata of an ONNX file (`metadata_props`), as ultralytics and others write it."""

from __future__ import annotations

import ast
import json
from typing import Any

import onnx

from boxwise_export.checkpoints.base import Metadata, Preprocessing
from boxwise_export.errors import PipelineError
from boxwise_export.labels import parse_names
from boxwise_export.pipeline import Normalize


def read_metadata(model: onnx.ModelProto) -> Metadata:
    """Read task, author, description and stride, if present."""
    said = _properties(model)
    return Metadata(**{key: said.get(key) for key in ("task", "author", "description", "stride")})


def read_names(model: onnx.ModelProto) -> tuple[str, ...] | None:
    """Read `names`, a list or a map of ids to names, in JSON or Python syntax; None if missing."""
    document = _value(_properties(model).get("names"))
    try:
        return tuple(parse_names(document, "names")) or None
    except PipelineError:
        return None


def read_licence(model: onnx.ModelProto) -> str | None:
    """Read `license`, in either spelling."""
    said = _properties(model)
    return said.get("license") or said.get("licence")


def read_preprocessing(model: onnx.ModelProto) -> Preprocessing:
    """Read `imgsz`, [height, width] or one number,
    and ultralytics' preprocessing of classifiers.
    """
    said = _properties(model)
    size = _sides(_value(said.get("imgsz")))
    if (
        said.get("task") == "classify"
        and "ultralytics" in f"{said.get('author')} {said.get('description')}".lower()
    ):
        # ultralytics' classify_transforms: the shorter side to imgsz, the centre of it, 0 to 1.
        unit = Normalize(std=(255.0, 255.0, 255.0))
        shorter = min(size) if size else None
        return Preprocessing(
            size, resize_shorter=shorter, interpolation="area", color_order="rgb", normalize=unit
        )
    return Preprocessing(size)


def _properties(model: onnx.ModelProto) -> dict[str, str]:
    return {each.key.lower(): each.value for each in model.metadata_props}


def _value(text: str | None) -> Any:
    """Parse a value in JSON or Python syntax; None if it is neither."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text or "")
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def _sides(value: Any) -> tuple[int, int] | None:
    sides = [value] * 2 if isinstance(value, int) else value
    if (
        isinstance(sides, list | tuple)
        and len(sides) == 2
        and all(isinstance(side, int) and side > 0 for side in sides)
    ):
        return sides[0], sides[1]
    return None
