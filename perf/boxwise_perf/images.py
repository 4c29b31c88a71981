"""The images that are sent, and what is said of them beside every figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from boxwise_perf.load import LoadError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SYNTHETIC_COUNT = 16  # images; all of one size, so more of them would show the server nothing new
MOST_BYTES = 512 * 2**20  # of a folder that are read: they are held in memory twice


@dataclass(frozen=True)
class Request:
    """One image, an encoded file, and what is asked of it beside: arguments of `Client.predict`."""

    image: bytes
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BoxesPerImage:
    """How many boxes each image of a load has: always `mean`, or Poisson-distributed around it.

    The models of such a load answer constants (`null.nullify`), more boxes than any image has; each
    request asks for as many as were drawn for it.
    """

    mean: float
    poisson: bool = False

    def draw(self, count: int, seed: int) -> list[int]:
        """For so many images."""
        if not self.poisson:
            return [round(self.mean)] * count
        return [int(many) for many in np.random.default_rng(seed).poisson(self.mean, count)]

    def __str__(self) -> str:
        return f"poisson, mean {self.mean:g}," if self.poisson else f"{self.mean:g}"


@dataclass(frozen=True)
class ImageSet:
    """What was sent, for the result.

    Attributes:
        source: "folder NAME" or "synthetic WxH, seed N".
        count: images, sent in turn.
        width: least, median and most, pixels.
        height: the same.
        mean_bytes: of a file.
        boxes: how many boxes an image has, where the load says so and not the models.
    """

    source: str
    count: int
    width: tuple[int, int, int]
    height: tuple[int, int, int]
    mean_bytes: int
    boxes: str | None = None

    def __str__(self) -> str:
        size = f"{self.width[1]}x{self.height[1]}" + (
            " (median)" if self.width[0] != self.width[2] else ""
        )
        return f"{self.count} images, {self.source}, {size}, {self.mean_bytes / 1e3:.0f} KB" + (
            f", {self.boxes} boxes an image" if self.boxes else ""
        )


def from_folder(folder: Path) -> tuple[ImageSet, list[bytes]]:
    """The images that lie in a folder, by name; of a very large one the first 512 MiB.

    Raises:
        LoadError: there is none, or one cannot be read.
    """
    contents: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    held = 0
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise LoadError(
            f"{folder}: holds no image ({', '.join(SUFFIXES)}): give a folder with some"
        )
    for path in files:
        try:
            content = path.read_bytes()
            with Image.open(io.BytesIO(content)) as opened:
                sizes.append(opened.size)
        except OSError as error:
            raise LoadError(f"{path}: cannot be read as an image: {error}") from error
        contents.append(content)
        held += len(content)
        if held > MOST_BYTES:
            break
    return _described(f"folder {folder.name}", contents, sizes), contents


def synthetic(width: int, height: int, seed: int) -> tuple[ImageSet, list[bytes]]:
    """JPEGs of one size with the detail of photos, from seeded noise; a detector finds next to
    nothing in them.
    """
    contents = [noise(width, height, seed + number) for number in range(SYNTHETIC_COUNT)]
    source = f"synthetic {width}x{height}, seed {seed}"
    return _described(source, contents, [(width, height)] * len(contents)), contents


def requests(images: Sequence[bytes], boxes: Sequence[int] | None = None) -> list[Request]:
    """A request for each image; with `boxes`, one for each of those, the images taken in turn."""
    if boxes is None:
        return [Request(image) for image in images]
    return [
        Request(images[number % len(images)], _asking(many)) for number, many in enumerate(boxes)
    ]


def _asking(boxes: int) -> dict[str, Any]:
    """What makes a null model's reply have so many boxes: none has a score of 1, and at an IoU of 1
    all stay.
    """
    return {"max_detections": boxes, "iou_threshold": 1.0} if boxes else {"score_threshold": 1.0}


def noise(width: int, height: int, seed: int) -> bytes:
    """A JPEG with the detail of a photo: seeded noise of 16 pixels' grain."""
    grain = np.random.default_rng(seed).integers(
        0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8
    )
    file = io.BytesIO()
    Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC).save(
        file, "JPEG", quality=90
    )
    return file.getvalue()


def _described(
    source: str, contents: Sequence[bytes], sizes: Sequence[tuple[int, int]]
) -> ImageSet:
    widths, heights = (sorted(side) for side in zip(*sizes, strict=True))
    middle = len(sizes) // 2
    return ImageSet(
        source,
        len(contents),
        (widths[0], widths[middle], widths[-1]),
        (heights[0], heights[middle], heights[-1]),
        round(sum(map(len, contents)) / len(contents)),
    )
