"""What a labelled set is, however it is written down."""

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
    """One image and what is on it.

    Attributes:
        path: of the file.
        boxes: float32 [n, 4], xyxy in pixels of the image as shown.
        class_ids: int64 [n], indices into the names of the set.
        crowd: bool [n], boxes that are neither to be found nor an error when they are: crowds,
            "difficult" objects.
        areas: float32 [n], square pixels, by which objects are small, medium or large: of the
            boxes, or of their masks.
        labels: classifier -> what it should say of each box; None where nobody said.
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
        kind: its format, as people call it.
        names: of the classes; None where the set only numbers them, by the pipeline's own labels.
        images: at least one.
        boxed: whether it says where the objects are; without, `class_ids` has one entry, the
            image's own class.
        split: the part of it that was read; None where it has none.
        notes: what a reader must know of it.
    """

    kind: str
    names: tuple[str, ...] | None
    images: tuple[LabelledImage, ...]
    boxed: bool = True
    split: str | None = None
    notes: tuple[str, ...] = ()

    def named_by(self, labels: Sequence[str]) -> Dataset:
        """The same set with `class_ids` that are indices into these labels.

        Names are the same where they differ in case, spaces, dashes and underscores only.

        Raises:
            EvalError: a class of the set is none of the labels.
        """
        if self.names is None:
            largest = max((int(each.class_ids.max(initial=-1)) for each in self.images), default=-1)
            if largest >= len(labels):
                raise EvalError(
                    f"the set has class {largest}, but the pipeline's last is {len(labels) - 1}; "
                    "give the set names (data.yaml or classes.txt) if its numbers mean "
                    "something else"
                )
            return replace(self, names=tuple(labels))
        ids = {plain(label): i for i, label in enumerate(labels)}
        used = sorted({int(i) for each in self.images for i in each.class_ids})
        if unknown := [self.names[i] for i in used if plain(self.names[i]) not in ids]:
            raise EvalError(
                "the set has classes that the pipeline does not know: "
                f"{', '.join(unknown[:10])[:200]}"
                f"{', ...' if len(unknown) > 10 else ''}; it knows {', '.join(labels[:10])[:200]}"
                f"{', ...' if len(labels) > 10 else ''}"
            )
        table = np.array([ids.get(plain(name), -1) for name in self.names], np.int64)
        images = tuple(replace(each, class_ids=table[each.class_ids]) for each in self.images)
        return replace(self, names=tuple(labels), images=images)


def plain(name: str) -> str:
    """A class's name as it is compared."""
    return name.casefold().replace(" ", "").replace("_", "").replace("-", "")


def image_files(folder: Path) -> list[Path]:
    """The images of a folder and of the folders in it, by name, without those that are hidden."""
    return sorted(
        path
        for path in folder.rglob("*")
        if is_image(path) and not hidden(path.relative_to(folder))
    )


def is_image(path: Path) -> bool:
    """Whether a file is called an image. The `._a.jpg` that macOS puts beside `a.jpg` is, and is
    none.
    """
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def hidden(path: Path) -> bool:
    """Whether a relative path, or a folder of it, is hidden: `.ipynb_checkpoints`, `._a.xml`."""
    return any(part.startswith(".") for part in path.parts)


def size_as_shown(path: Path) -> tuple[int, int]:
    """Width and height in pixels, EXIF orientation applied; only the header is read.

    Raises:
        EvalError: it is no image.
    """
    try:
        with open_image(path) as image:
            width, height = image.size
            sideways = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
    except (OSError, ValueError) as error:
        raise EvalError(f"{path}: not an image that can be read ({error})") from error
    return (height, width) if sideways else (width, height)


def labelled_image(
    path: Path,
    boxes: Sequence[Sequence[float]],
    class_ids: Sequence[int],
    crowd: Sequence[bool] | None = None,
    areas: Sequence[float | None] | None = None,
    labels: Mapping[str, Sequence[str | None]] | None = None,
) -> LabelledImage:
    """An image from rows, of which there may be none."""
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    own = (corners[:, 2:] - corners[:, :2]).prod(axis=1).tolist()
    said = [
        box if area is None else area
        for box, area in zip(own, areas or [None] * len(own), strict=True)
    ]
    return LabelledImage(
        path,
        corners,
        np.array(class_ids, np.int64),
        np.array(crowd if crowd is not None else [False] * len(class_ids), bool),
        np.array(said, np.float32),
        labels or {},
    )
