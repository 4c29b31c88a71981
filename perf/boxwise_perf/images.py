"""The images of a load, and their description in results."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from boxwise_perf.load import LoadError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SYNTHETIC_COUNT = 16  # all have one size, so more of them would add nothing
MOST_BYTES = 512 * 2**20  # read of a folder: memory holds them twice
DRAWS = 997  # numbers of boxes drawn: a prime, so that each image is sent with many of them


@dataclass(frozen=True)
class Request:
    """One encoded image, and the keyword arguments of `Client.predict` for it."""

    image: bytes
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BoxesPerImage:
    """The number of boxes in each image of a load: always `mean`, or Poisson-distributed.

    The networks of such a load return constants (`null.nullify`), as many boxes as any image needs.
    Each request limits them to the number that was drawn for it.
    """

    mean: float
    poisson: bool = False

    def draw(self, count: int, seed: int) -> list[int]:
        """Return the numbers of boxes of `count` images."""
        if not self.poisson:
            return [round(self.mean)] * count
        return list(map(int, np.random.default_rng(seed).poisson(self.mean, count)))

    def __str__(self) -> str:
        return f"poisson, mean {self.mean:g}," if self.poisson else f"{self.mean:g}"


@dataclass(frozen=True)
class ImageSet:
    """The description of the sent images in a result.

    Attributes:
        source: "folder NAME" or "synthetic WxH, seed N".
        count: number of images, sent in turn.
        width: minimum, median and maximum in pixels.
        height: minimum, median and maximum in pixels.
        mean_bytes: mean size of a file.
        boxes: the number of boxes per image, if the load sets it.
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


@dataclass(frozen=True)
class Workload:
    """What a load sends.

    Attributes:
        images: their description for the result.
        requests: sent in turn, over and over.
        most_boxes: the largest number of boxes in a request; None if the networks decide.
    """

    images: ImageSet
    requests: list[Request]
    most_boxes: int | None = None


def workload(
    folder: Path | None, size: tuple[int, int], boxes: BoxesPerImage | None, seed: int
) -> Workload:
    """Return the requests of a load.

    Args:
        folder: of images; None for synthetic ones.
        size: width and height of synthetic images.
        boxes: the number of boxes per image; None if the networks decide.
        seed: of synthetic images and of numbers of boxes.

    Raises:
        LoadError: the folder holds no image, or one cannot be decoded.
    """
    described, images = from_folder(folder) if folder else synthetic(*size, seed)
    if boxes is None:
        return Workload(described, requests(images))
    drawn = boxes.draw(DRAWS, seed)
    return Workload(replace(described, boxes=str(boxes)), requests(images, drawn), max(drawn))


def from_folder(folder: Path) -> tuple[ImageSet, list[bytes]]:
    """Return the images in a folder, sorted by name, up to 512 MiB.

    Raises:
        LoadError: there is none, or one cannot be decoded.
    """
    contents: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    total = 0
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise LoadError(
            f"{folder}: holds no image ({', '.join(SUFFIXES)}): name a folder of images"
        )
    for path in files:
        try:
            content = path.read_bytes()
            with Image.open(io.BytesIO(content)) as opened:
                sizes.append(opened.size)
        except OSError as error:
            raise LoadError(f"{path}: cannot be decoded: {error}") from error
        contents.append(content)
        total += len(content)
        if total > MOST_BYTES:
            break
    return _described(f"folder {folder.name}", contents, sizes), contents


def synthetic(width: int, height: int, seed: int) -> tuple[ImageSet, list[bytes]]:
    """Return JPEGs of seeded noise, of one size. A detector finds next to nothing in them."""
    contents = [noise(width, height, seed + number) for number in range(SYNTHETIC_COUNT)]
    source = f"synthetic {width}x{height}, seed {seed}"
    return _described(source, contents, [(width, height)] * len(contents)), contents


def requests(images: Sequence[bytes], boxes: Sequence[int] | None = None) -> list[Request]:
    """Return one request per image; with `boxes`, one per number, with the images in turn."""
    if boxes is None:
        return [Request(image) for image in images]
    return [
        Request(images[number % len(images)], _limit(count)) for number, count in enumerate(boxes)
    ]


def _limit(boxes: int) -> dict[str, Any]:
    """Return the options that make a constant network return this number of boxes.

    NMS at an IoU of 1 keeps every box, and no box has a score of 1.
    """
    return {"max_detections": boxes, "iou_threshold": 1.0} if boxes else {"score_threshold": 1.0}


def noise(width: int, height: int, seed: int) -> bytes:
    """Return a JPEG about as detailed as a photo: seeded noise with a grain of 16 pixels."""
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
