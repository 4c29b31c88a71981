"""Names of classes: a known set, a list, or a file (text with one name a line, YAML, JSON)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from boxwise_export.errors import PipelineError
from boxwise_export.yaml_file import load_yaml

# coco91 has a name for each COCO id from 0 to 90, 11 of them unused; coco has the 80 used ones.
KNOWN_SETS = ("coco", "coco91", "imagenet")


def read_labels(labels: str | Sequence[str], key: str) -> tuple[str, ...]:
    """Resolve `labels:` of a pipeline file.

    Args:
        labels: a known set, the path of a file, or the names themselves. A text file has one name a
            line. A YAML or JSON file has a list of names, a map from ids to names, or either under
            `names`, as ultralytics' data.yaml.
        key: of the pipeline file, for errors.

    Raises:
        PipelineError: an unknown set, a missing or empty file, an empty name, or a repeated one.
    """
    if not isinstance(labels, str):
        numbered, where = list(enumerate(labels, 1)), "name"
    elif labels in KNOWN_SETS:
        numbered, where = (
            _lines(files("boxwise_export").joinpath("labels", f"{labels}.txt").read_text("utf-8")),
            "line",
        )
    else:
        numbered, where = _read_file(Path(labels), key)
    if not numbered:
        raise PipelineError(f"{key}: no names; expected at least one")
    first: dict[str, int] = {}
    for number, name in numbered:
        if not name.strip():
            raise PipelineError(
                f"{key}: {where} {number} is empty, and moves every name after it by one class; "
                "write its name, or take it out"
            )
        if name in first:
            raise PipelineError(
                f"{key}: {where} {number} is {name!r}, as is {where} {first[name]}; give "
                "each class a name of its own"
            )
        first[name] = number
    return tuple(first)


def _read_file(path: Path, key: str) -> tuple[list[tuple[int, str]], str]:
    """Return numbered names, and what is numbered."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(
            f"{key}: {str(path)!r} is neither a known set ({', '.join(KNOWN_SETS)}) nor a readable "
            f"text file ({error}); write the names as a list, or one a line into a .txt file in "
            "UTF-8"
        ) from error
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        return _lines(text), "line"
    try:
        document = json.loads(text) if path.suffix.lower() == ".json" else load_yaml(text)
    except (ValueError, yaml.YAMLError) as error:
        raise PipelineError(
            f"{key}: {path} cannot be parsed: {' '.join(str(error).split())}"
        ) from error
    return list(enumerate(parse_names(document, f"{key}: {path}"), 1)), "name"


def parse_names(document: Any, what: str) -> list[str]:
    """Return names by id, from a list, a map of ids to names, or either under `names`.

    Raises:
        PipelineError: it is none of these, or ids are missing; the message begins with `what`.
    """
    names = document.get("names", document) if isinstance(document, Mapping) else document
    if isinstance(names, Mapping):
        try:
            by_id = {int(number): name for number, name in names.items()}
        except (TypeError, ValueError):
            raise PipelineError(
                f"{what}: expected a map from ids, which are whole numbers, to names"
            ) from None
        if missing := sorted(set(range(len(by_id))) - set(by_id)):
            raise PipelineError(
                f"{what}: has no name for id {missing[0]}; ids go from 0 without a gap"
            )
        names = [by_id[number] for number in range(len(by_id))]
    if not isinstance(names, Sequence) or isinstance(names, str):
        raise PipelineError(
            f"{what}: expected a list of names, a map from ids to names, or either under `names`"
        )
    try:
        return [as_name(name) for name in names]
    except ValueError as error:
        raise PipelineError(f"{what}: {error}") from error


def as_name(value: object) -> str:
    """Return a name as it was meant: numbers become text, other YAML types are refused.

    Raises:
        ValueError: names what YAML read, and the fix.
    """
    if isinstance(value, bool):
        raise ValueError(
            "YAML reads yes, no, on, off, true and false as truth values; put the name in quotes"
        )
    if value is None:
        raise ValueError("YAML reads null, ~ and nothing as no value; put the name in quotes")
    if isinstance(value, Mapping | list):
        raise ValueError(f"{value!s:.60} is no name; put a name with a colon or brackets in quotes")
    return str(value)


def _lines(text: str) -> list[tuple[int, str]]:
    """Return lines with their numbers, without empty ones at the end."""
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return list(enumerate(lines, 1))
