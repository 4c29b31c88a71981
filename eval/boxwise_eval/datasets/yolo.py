"""YOLO folders: `images/` and `labels/`, a text file a picture, `class cx cy w h` in fractions of the picture.

docs.ultralytics.com/datasets/detect; names come from `data.yaml` or `classes.txt`, where there is one.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from boxwise_eval.datasets.base import Dataset, Picture, boxed_picture, picture_files, size_as_shown
from boxwise_eval.errors import EvalError


def is_one(data: Path) -> bool:
    """Whether the folder looks like one."""
    return (data / "images").is_dir() and (data / "labels").is_dir()


def read(data: Path) -> Dataset:
    """Read the set; a picture without a file of labels has nothing on it.

    Raises:
        EvalError: there is no picture, or a line of labels is wrong.
    """
    files = picture_files(data / "images")
    if not files:
        raise EvalError(f"{data / 'images'}: holds no picture")
    if not any((data / "labels").rglob("*.txt")):
        raise EvalError(f"{data / 'labels'}: holds no .txt file; expected one for each picture, of the same name")
    return Dataset("YOLO", _names(data), tuple(_picture(data, path) for path in files))


def _picture(data: Path, path: Path) -> Picture:
    file = (data / "labels" / path.relative_to(data / "images")).with_suffix(".txt")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    width, height = size_as_shown(path)
    boxes, class_ids = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            class_id, x, y, w, h = line.split()
            box = [float(x) * width, float(y) * height, float(w) * width / 2, float(h) * height / 2]
            class_ids.append(int(class_id))
        except ValueError:
            raise EvalError(f"{file}, line {number}: expected `class cx cy w h` in fractions, got {line!r}") from None
        boxes.append([box[0] - box[2], box[1] - box[3], box[0] + box[2], box[1] + box[3]])
    return boxed_picture(path, boxes, class_ids)


def _names(data: Path) -> tuple[str, ...] | None:
    if (text := data / "classes.txt").is_file():
        return tuple(line.strip() for line in text.read_text(encoding="utf-8").splitlines() if line.strip())
    for file in (*sorted(data.glob("*.yaml")), *sorted(data.glob("*.yml"))):
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
            names = document["names"]
            values = [names[i] for i in sorted(names)] if isinstance(names, dict) else names
            return tuple(str(name) for name in values)
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise EvalError(f"{file}: expected `names:`, a list or numbers with names ({error})") from error
    return None
