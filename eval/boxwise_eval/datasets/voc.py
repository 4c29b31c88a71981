"""Pascal VOC: `Annotations/*.xml` and `JPEGImages/`
(host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc).
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from boxwise._image import IMAGE_SUFFIXES
from boxwise_eval.datasets.base import Dataset, LabelledImage, labelled_image
from boxwise_eval.datasets.splits import SPLITS, chosen
from boxwise_eval.errors import EvalError


def is_one(data: Path) -> bool:
    """Return whether the folder looks like Pascal VOC."""
    return (data / "Annotations").is_dir()


def read(data: Path, split: str | None = None) -> Dataset:
    """Read the set; objects marked `difficult` do not count, as in VOC's own evaluation.

    Args:
        data: the folder.
        split: one of those in `ImageSets/Main/`; None if there is only one or none.

    Raises:
        EvalError: there is no annotation, one is invalid, its image is missing, or there are
            several splits.
    """
    files = sorted(
        path for path in (data / "Annotations").glob("*.xml") if not path.name.startswith(".")
    )
    if not files:
        raise EvalError(f"{data / 'Annotations'}: holds no .xml file")
    lists = {
        name: file
        for name in SPLITS
        if (file := data / "ImageSets" / "Main" / f"{name}.txt").is_file()
    }
    if lists:
        split = chosen(data / "ImageSets" / "Main", lists, split)
        listed = {
            line.split()[0]
            for line in lists[split].read_text(encoding="utf-8").splitlines()
            if line.strip()
        }
        if missing := sorted(listed - {file.stem for file in files}):
            raise EvalError(
                f"{lists[split]}: {missing[0]} has no annotation in {data / 'Annotations'}"
            )
        files = [file for file in files if file.stem in listed]
    elif split is not None:
        raise EvalError(f"{data}: has no ImageSets/Main/{split}.txt: leave --split out")
    roots = [_parse(file) for file in files]
    names = sorted(
        {
            _text(file, each, "name")
            for file, root in zip(files, roots, strict=True)
            for each in _objects(root)
        }
    )
    images = tuple(_image(data, file, root, names) for file, root in zip(files, roots, strict=True))
    return Dataset("Pascal VOC", tuple(names), images, split=split)


def _image(data: Path, file: Path, root: ElementTree.Element, names: list[str]) -> LabelledImage:
    objects = _objects(root)
    try:
        # VOC counts pixels from 1, and the last pixel belongs to the box.
        boxes = [
            [
                float(_text(file, each, f"bndbox/{side}"))
                for side in ("xmin", "ymin", "xmax", "ymax")
            ]
            for each in objects
        ]
    except ValueError as error:
        raise EvalError(f"{file}: a box is not numeric ({error})") from error
    corners = [[x1 - 1, y1 - 1, x2, y2] for x1, y1, x2, y2 in boxes]
    class_ids = [names.index(_text(file, each, "name")) for each in objects]
    difficult = [each.findtext("difficult", "0").strip() == "1" for each in objects]
    return labelled_image(_find_image(data, file, root), corners, class_ids, difficult)


def _find_image(data: Path, file: Path, root: ElementTree.Element) -> Path:
    named = root.findtext("filename", "").strip()
    for name in filter(None, (named, *(file.stem + suffix for suffix in IMAGE_SUFFIXES))):
        for place in (data / "JPEGImages", data / "images", data):
            if (place / name).is_file():
                return place / name
    raise EvalError(f"{file}: its image {named or file.stem} is not in {data / 'JPEGImages'}")


def _parse(file: Path) -> ElementTree.Element:
    try:
        # A labelled set is the user's own, and the standard parser opens no other file or URL.
        return ElementTree.parse(file).getroot()  # noqa: S314
    except (ElementTree.ParseError, OSError) as error:
        raise EvalError(f"{file}: not readable as XML ({error})") from error


def _objects(root: ElementTree.Element) -> list[ElementTree.Element]:
    return root.findall("object")


def _text(file: Path, element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise EvalError(f"{file}: an object has no <{path}>")
    return text.strip()
