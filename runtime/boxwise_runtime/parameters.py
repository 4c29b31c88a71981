"""Convert a stage's fields to the parameters of its Triton model, which are strings, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

StageT = TypeVar("StageT")


def to_parameters(stage_values: Mapping[str, Any]) -> dict[str, str]:
    """Return field values as strings: strings unchanged, a mapping's keys joined by dots, the rest
    as JSON.

    Example:
        >>> to_parameters({"pad_value": 114, "crops": {"breed": {"only": (2, 5)}}})
        {'pad_value': '114', 'crops.breed.only': '[2, 5]'}
    """
    parameters: dict[str, str] = {}
    for name, value in stage_values.items():
        if isinstance(value, Mapping):
            parameters |= {f"{name}.{key}": text for key, text in to_parameters(value).items()}
        else:
            parameters[name] = value if isinstance(value, str) else json.dumps(value)
    return parameters


def build_stage(stage_type: type[StageT], parameters: Mapping[str, str], folder: Path) -> StageT:
    """Build a stage from its model's parameters; a field named `folder` is the folder of the
    model's version.

    Raises:
        ValueError: a parameter is missing or unknown; says which.
    """
    values = read_parameters(parameters)
    names = {field.name for field in fields(stage_type)}  # type: ignore[arg-type]
    if "folder" in names:
        values["folder"] = folder
    try:
        return stage_type(**values)
    except TypeError as error:
        raise ValueError(
            f"parameters of {stage_type.__name__}: {error}; expected {', '.join(sorted(names))}"
        ) from None


def read_parameters(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Reverse `to_parameters`; lists become tuples."""
    values: dict[str, Any] = {}
    for name, text in parameters.items():
        *parents, last = name.split(".")
        group = values
        for parent in parents:
            group = group.setdefault(parent, {})
        group[last] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value
