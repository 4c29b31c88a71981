"""YOLO: a text file per image, with a line per object, in fractions of the image.

    class cx cy w h            a box
    class x1 y1 x2 y2 x3 y3 …  a polygon, of which the bounding box is used

See docs.ultralytics.com/datasets/detect and /segment. The labels of `.../images/a.jpg` are in
`.../labels/a.txt`, or beside the image if no folder is named images. Names come from `classes.txt`
or `data.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from boxwise_eval.datasets import data_yaml, splits
from boxwise_eval.datasets.base import (
    Dataset,
    LabelledImage,
    image_files,
    is_image,
    labelled_image,
    size_as_shown,
)
from boxwise_eval.datasets.data_yaml import Description
from boxwise_eval.errors import EvalError

_NAME_FILES = ("classes.txt", "obj.names")
_OUTSIDE = 0.01  # tolerance for rounded boxes at the edge; pixels are far beyond it
_NUMBERS = "classes without names (data.yaml, classes.txt) are taken for the pipeline's"


def is_one(data: Path) -> bool:
    """Return whether it looks like YOLO: images/ and labels/, or images with label files."""
    if (data / "images").is_dir() and (data / "labels").is_dir():
        return True
    return any(_label_file(path).is_file() for path in data.iterdir() if is_image(path))


def read(data: Path, split: str | None) -> Dataset:
    """Read a folder; an image without a label file has no objects.

    Args:
        data: the folder.
        split: one of `splits.SPLITS`, if the images are in a folder per split.

    Raises:
        EvalError: there is no image or no label, a line is invalid, or there are several splits.
    """
    images = data / "images" if (data / "images").is_dir() else data
    parts = splits.folders(images)
    if parts:
        split = splits.chosen(images, parts, split)
        images = parts[split]
    elif split is not None:
        raise EvalError(f"{data}: has no splits: leave --split out")
    own = data_yaml.find(data)
    above = None if own else _above(data)
    names = _names([data, data / "labels", _labels_of(images)], own or above)
    notes = [f"the names of the classes are those of {above.file}"] if above and names else []
    return _dataset(
        image_files(images), images, names, split, keypoints=_keypoints(own or above), notes=notes
    )


def read_split(description: Description, split: str | None) -> Dataset:
    """Read a split of a `data.yaml`, by default `val`.

    Raises:
        EvalError: as for `read`, or the split does not exist.
    """
    split = splits.chosen(description.file, description.splits, split, "val")
    places = description.places(split)
    files = list(dict.fromkeys(path for place in places for path in _files(place)))
    names = _names(
        [description.file.parent, *(_labels_of(place) for place in places if place.is_dir())],
        description,
    )
    return _dataset(files, places[0], names, split, keypoints=description.keypoints)


def _dataset(
    files: Sequence[Path],
    images: Path,
    names: tuple[str, ...] | None,
    split: str | None,
    *,
    keypoints: bool,
    notes: Sequence[str] = (),
) -> Dataset:
    if not files:
        raise EvalError(f"{images}: holds no image")
    bare = [path for path in files if not _label_file(path).is_file()]
    if len(bare) == len(files):
        raise EvalError(
            f"{images}: no image has a label file; looked for {_label_file(files[0])}: "
            "expected one for each image, of the same name, in labels/ beside images/"
        )
    notes = list(notes)
    if bare:
        notes.append(
            f"{len(bare)} of {len(files)} images have no label file, and count as images "
            "without objects"
        )
    if names is None:
        notes.append(_NUMBERS)
    count = None if names is None else len(names)
    labelled = tuple(_image(path, count, keypoints=keypoints) for path in files)
    return Dataset("YOLO", names, labelled, split=split, notes=tuple(notes))


def _files(place: Path) -> list[Path]:
    """Return the images of a folder, or of a list of files."""
    if place.is_dir():
        if len(parts := splits.folders(place)) > 1:
            raise EvalError(
                f"{place}: has the splits {', '.join(parts)} in it, which would be mixed: "
                "name one of them"
            )
        return image_files(place)
    lines = place.read_text(encoding="utf-8-sig").splitlines()
    files = [place.parent / line.strip() for line in lines if line.strip()]
    if missing := [path for path in files if not path.is_file()]:
        raise EvalError(f"{place}: {missing[0]} does not exist")
    return files


def _labels_of(images: Path) -> Path:
    """Return the folder of labels: the last `images` in the path becomes `labels`."""
    parts = list(images.parts)
    for i in reversed(range(len(parts))):
        if parts[i] == "images":
            return Path(*parts[:i], "labels", *parts[i + 1 :])
    return images


def _label_file(path: Path) -> Path:
    return _labels_of(path.parent) / f"{path.stem}.txt"


def _image(path: Path, count: int | None, *, keypoints: bool) -> LabelledImage:
    file = _label_file(path)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() else []
    except UnicodeDecodeError:
        raise EvalError(f"{file}: not a text file") from None
    width, height = size_as_shown(path)
    boxes, class_ids = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        class_id, (x1, y1, x2, y2) = _object(f"{file}, line {number}", line, keypoints=keypoints)
        if count is not None and class_id >= count:
            raise EvalError(
                f"{file}, line {number}: class {class_id}, but there are names for 0 to "
                f"{count - 1} only"
            )
        class_ids.append(class_id)
        boxes.append([x1 * width, y1 * height, x2 * width, y2 * height])
    return labelled_image(path, boxes, class_ids)


def _object(
    where: str, line: str, *, keypoints: bool
) -> tuple[int, tuple[float, float, float, float]]:
    """Return the class of a line, and its box as x1, y1, x2, y2 in fractions."""
    expected = (
        f"{where}: expected `class cx cy w h` in fractions, or a polygon `class x1 y1 x2 y2 x3 "
        "y3 ...`"
    )
    try:
        number, *values = map(float, line.split())
    except ValueError:
        raise EvalError(f"{expected}, got {line[:200]!r}") from None
    polygon = not keypoints and len(values) >= 6 and len(values) % 2 == 0
    if (
        number < 0
        or number % 1
        or not (len(values) == 4 or polygon or (keypoints and len(values) > 4))
    ):
        raise EvalError(f"{expected}, got {line[:200]!r}")
    used = values if polygon else values[:4]
    if not all(-_OUTSIDE <= value <= 1 + _OUTSIDE for value in used):
        raise EvalError(f"{expected}, from 0 to 1, got {line[:200]!r}: are these pixels?")
    if polygon:
        return int(number), (min(used[::2]), min(used[1::2]), max(used[::2]), max(used[1::2]))
    x, y, w, h = used
    return int(number), (x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def _above(data: Path) -> Description | None:
    """Return the description above a split: Roboflow's is one folder up, ultralytics' two."""
    data = data.resolve()
    for folder in list(data.parents)[:2]:
        for file in (folder / f"data{suffix}" for suffix in data_yaml.SUFFIXES):
            if file.is_file() and (
                folder == data.parent or data_yaml.read(file).names_folder(data)
            ):
                return data_yaml.read(file)
    return None


def _keypoints(description: Description | None) -> bool:
    return description is not None and description.keypoints


def _names(folders: Iterable[Path], description: Description | None) -> tuple[str, ...] | None:
    """Return the names of the classes from a list or the description; None if neither has any."""
    files = [folder / name for folder in dict.fromkeys(folders) for name in _NAME_FILES]
    listed = [(file, _lines(file)) for file in files if file.is_file()]
    if description is not None and description.names is not None:
        listed.append((description.file, description.names))
    for file, names in listed[1:]:
        if names != listed[0][1]:
            raise EvalError(
                f"{listed[0][0]} and {file} name the classes differently: remove the wrong one"
            )
    return listed[0][1] if listed else None


def _lines(file: Path) -> tuple[str, ...]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise EvalError(
            f"{file}, line {lines.index('') + 1}: empty, and each line is a class: remove "
            "it or name it"
        )
    return tuple(lines)
