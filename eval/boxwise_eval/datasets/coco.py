"""COCO's JSON of instances (cocodataset.org/#format-data)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwise_eval.datasets.base import Dataset, LabelledImage, labelled_image
from boxwise_eval.datasets.splits import split_of
from boxwise_eval.errors import EvalError


def find(data: Path, split: str | None = None) -> Path | None:
    """Return the annotations: the file, or the only JSON of instances in the folder or its
    `annotations/`; None if there is none.

    Args:
        data: a file, or a folder.
        split: chooses among several files by their names, such as `instances_val2017.json`.

    Raises:
        EvalError: there are several, and none is chosen.
    """
    if data.is_file():
        return data if data.suffix.lower() == ".json" else None
    files = (*sorted(data.glob("*.json")), *sorted(data.glob("annotations/*.json")))
    found = [path for path in files if not path.name.startswith(".") and _is_coco(path)]
    named = [
        path
        for path in found
        if split is not None and split in map(split_of, re.split(r"[_.\-]", path.stem))
    ]
    if len(named) == 1:
        return named[0]
    names = ", ".join(str(path.relative_to(data)) for path in found)
    if len(found) > 1:
        raise EvalError(
            f"{data}: holds several sets ({names}); name one of the files with --data, or "
            "one with --split"
        )
    if found and split is not None:
        raise EvalError(
            f"{data}: holds one set ({names}), which is not called {split}: leave --split out"
        )
    return found[0] if found else None


def read(file: Path) -> Dataset:
    """Read the annotations, and find the images beside them.

    A box's attributes (CVAT's `attributes: {classifier: label}`) are its true labels.

    Raises:
        EvalError: the file is invalid, or an image is missing.
    """
    document = _load(file)
    try:
        categories = {int(each["id"]): str(each["name"]) for each in document["categories"]}
        images = [(int(each["id"]), str(each["file_name"])) for each in document["images"]]
        annotations = defaultdict(list)
        for each in document["annotations"]:
            annotations[int(each["image_id"])].append(each)
    except (KeyError, TypeError, ValueError) as error:
        raise EvalError(
            f"{file}: not COCO's format of instances ({type(error).__name__}: {error})"
        ) from error
    order = {category: i for i, category in enumerate(categories)}
    labelled = tuple(
        _image(file, _find_image(file, name), annotations[number], order) for number, name in images
    )
    if not labelled:
        raise EvalError(f"{file}: has no images")
    return Dataset("COCO", tuple(categories.values()), labelled)


def _image(
    file: Path, path: Path, annotations: Sequence[Mapping[str, Any]], order: Mapping[int, int]
) -> LabelledImage:
    try:
        boxes = [[float(side) for side in each["bbox"]] for each in annotations]
        class_ids = [order[int(each["category_id"])] for each in annotations]
        corners = [[x, y, x + width, y + height] for x, y, width, height in boxes]
    except (KeyError, TypeError, ValueError) as error:
        raise EvalError(
            f"{file}: an annotation of {path.name} is wrong ({type(error).__name__}: {error}); "
            "expected `bbox` [x, y, width, height] and a known `category_id`"
        ) from error
    attributes = [each.get("attributes") or {} for each in annotations]
    classifiers = {str(name) for each in attributes for name in each}
    labels = {name: [_text(each.get(name)) for each in attributes] for name in sorted(classifiers)}
    crowd = [bool(each.get("iscrowd")) for each in annotations]
    return labelled_image(
        path, corners, class_ids, crowd, [each.get("area") for each in annotations], labels
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _find_image(file: Path, name: str) -> Path:
    folder = file.parent
    around = [
        folder,
        folder / "images",
        folder.parent,
        folder.parent / "images",
        folder.parent / file.stem.split("_")[-1],
    ]
    for place in around:
        if (place / name).is_file():
            return place / name
    raise EvalError(
        f"{file}: {name} is not there; looked in {', '.join(str(place) for place in around)}"
    )


def _is_coco(path: Path) -> bool:
    try:
        return {"images", "annotations", "categories"} <= set(_load(path))
    except EvalError:
        return False


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise EvalError(f"{path}: not readable as JSON ({error})") from error
