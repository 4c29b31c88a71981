"""A labelled set, independent of its format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxwise._image import IMAGE_SUFFIXES, open_image
from boxwise_eval.errors import EvalError

_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # EXIF 2.3, 4.6.4


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image and its objects.

    Attributes:
        path: of the file.
        boxes: float32 [n, 4], xyxy in pixels of the image as shown.
        class_ids: int64 [n], indices into the names of the set.
        crowd: bool [n], boxes that do not count, found or not: crowds, "difficult" objects.
        areas: float32 [n], square pixels of the boxes or of their masks, which decide what is
            small, medium or large.
        labels: classifier -> the true label of each box; None if unknown.
    """

    path: Path
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float32]
    labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A labelled set.

    Attributes:
        kind: name of its format.
        names: of the classes; None if the set only has numbers, which are the pipeline's.
        images: at least one.
        boxed: whether it has boxes; without them, `class_ids` has one entry, the image's class.
        split: the split that was read; None if it has none.
        notes: remarks for the reader.
    """

    kind: str
    names: tuple[str, ...] | None
    images: tuple[LabelledImage, ...]
    boxed: bool = True
    split: str | None = None
    notes: tuple[str, ...] = ()

    def named_by(self, labels: Sequence[str]) -> Dataset:
        """Return the set with `class_ids` that are indices into these labels.

        Case, spaces, dashes and underscores of names do not matter.

        Raises:
            EvalError: a class of the set is not one of the labels.
        """
        if self.names is None:
            largest = max((int(each.class_ids.max(initial=-1)) for each in self.images), default=-1)
            if largest >= len(labels):
                raise EvalError(
                    f"the set has class {largest}, but the pipeline's last is {len(labels) - 1}; "
                    "give the set names (data.yaml or classes.txt) if its numbers are of other "
                    "classes"
                )
            return replace(self, names=tuple(labels))
        ids = {plain(label): i for i, label in enumerate(labels)}
        used = sorted({int(i) for each in self.images for i in each.class_ids})
        if unknown := [self.names[i] for i in used if plain(self.names[i]) not in ids]:
            raise EvalError(
                "the set has classes that the pipeline does not know: "
                f"{', '.join(unknown[:10])[:200]}{', ...' if len(unknown) > 10 else ''}; it knows "
                f"{', '.join(labels[:10])[:200]}{', ...' if len(labels) > 10 else ''}"
            )
        table = np.array([ids.get(plain(name), -1) for name in self.names], np.int64)
        images = tuple(replace(each, class_ids=table[each.class_ids]) for each in self.images)
        return replace(self, names=tuple(labels), images=images)


def plain(name: str) -> str:
    """Return a class name in the form that is compared."""
    return name.casefold().replace(" ", "").replace("_", "").replace("-", "")


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted by name, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if is_image(path) and not hidden(path.relative_to(folder))
    )


def is_image(path: Path) -> bool:
    """Return whether a file has an image's suffix, and is not one of macOS's `._` files."""
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def hidden(path: Path) -> bool:
    """Return whether a relative path is hidden, as in `.ipynb_checkpoints`, `._a.xml`."""
    return any(part.startswith(".") for part in path.parts)


def size_as_shown(path: Path) -> tuple[int, int]:
    """Return width and height in pixels, EXIF orientation applied, from the header.

    Raises:
        EvalError: it is not an image.
    """
    try:
        with open_image(path) as image:
            width, height = image.size
            sideways = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
    except (OSError, ValueError) as error:
        raise EvalError(f"{path}: not a readable image ({error})") from error
    return (height, width) if sideways else (width, height)


def labelled_image(
    path: Path,
    boxes: Sequence[Sequence[float]],
    class_ids: Sequence[int],
    crowd: Sequence[bool] | None = None,
    areas: Sequence[float | None] | None = None,
    labels: Mapping[str, Sequence[str | None]] | None = None,
) -> LabelledImage:
    """Return a labelled image of any number of rows, zero included."""
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    of_boxes = (corners[:, 2:] - corners[:, :2]).prod(axis=1).tolist()
    known = [
        box if area is None else area
        for box, area in zip(of_boxes, areas or [None] * len(of_boxes), strict=True)
    ]
    return LabelledImage(
        path,
        corners,
        np.array(class_ids, np.int64),
        np.array(crowd if crowd is not None else [False] * len(class_ids), bool),
        np.array(known, np.float32),
        labels or {},
    )
