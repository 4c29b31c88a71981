"""Cut boxes out of a frame, at the size that a classifier expects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwise_runtime.canvas import ColorOrder, Interpolation, draw, fit, resize_to


@dataclass(frozen=True)
class CropSpec:
    """How a box becomes a classifier's input.

    Attributes:
        height: of the crop, pixels.
        width: of the crop, pixels.
        padding: context around a box, as a fraction of its sides, on each side.
        keep_aspect: letterbox the region instead of stretching it.
        resize_shorter: resize the region's shorter side to this many pixels, then cut the centre,
            as ImageNet classifiers are evaluated; 0: do not.
        resize_height: stretch the region to this height and `resize_width`, then cut the centre; 0:
            do not.
        resize_width: see `resize_height`.
        pad_value: 0 to 255, of the letterbox.
        interpolation: of the resize.
        color_order: of the crop's channels.
    """

    height: int
    width: int
    padding: float = 0.0
    keep_aspect: bool = False
    resize_shorter: int = 0
    resize_height: int = 0
    resize_width: int = 0
    pad_value: int = 114
    interpolation: Interpolation = "linear"
    color_order: ColorOrder = "rgb"


def crop(frame: NDArray[np.uint8], boxes: NDArray[np.float32], spec: CropSpec) -> NDArray[np.uint8]:
    """Return the crops of the given boxes.

    Args:
        frame: uint8 [H, W, 3].
        boxes: float32 [m, 4], xyxy in frame pixels.
        spec: of the crops.

    Returns:
        uint8 [m, spec.height, spec.width, 3]
    """
    crops = np.empty((len(boxes), spec.height, spec.width, 3), np.uint8)
    for row, box in enumerate(boxes.tolist()):
        left, top, right, bottom = region(box, frame.shape[0], frame.shape[1], spec.padding)
        _fill(frame[top:bottom, left:right], spec, crops[row])
    return crops


def region(
    box: Sequence[float], height: int, width: int, padding: float
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the whole pixels, at least one, that a padded box covers.

    Example:
        >>> region((10.2, 10.0, 20.5, 30.0), height=100, width=100, padding=0.1)
        (9, 8, 22, 32)
    """
    x1, y1, x2, y2 = box
    margin_x, margin_y = (x2 - x1) * padding, (y2 - y1) * padding
    left = min(max(math.floor(x1 - margin_x), 0), width - 1)
    top = min(max(math.floor(y1 - margin_y), 0), height - 1)
    right = min(max(math.ceil(x2 + margin_x), left + 1), width)
    bottom = min(max(math.ceil(y2 + margin_y), top + 1), height)
    return left, top, right, bottom


def _fill(image: NDArray[np.uint8], spec: CropSpec, out: NDArray[np.uint8]) -> None:
    if spec.resize_shorter:
        image = _centre(image, spec)
    elif spec.resize_height:
        image = _cut(
            resize_to(image, spec.resize_height, spec.resize_width, spec.interpolation), spec
        )
    height, width = image.shape[:2]
    draw(
        image,
        fit(height, width, spec.height, spec.width, "letterbox" if spec.keep_aspect else "stretch"),
        out,
        pad_value=spec.pad_value,
        interpolation=spec.interpolation,
        color_order=spec.color_order,
    )


def _centre(image: NDArray[np.uint8], spec: CropSpec) -> NDArray[np.uint8]:
    """Resize the shorter side, then cut [spec.height, spec.width] from the centre."""
    # Two squares around the middle suffice; resizing all of a 1 x 4000 image takes 786 MB.
    image = _middle(image, 2 * min(image.shape[:2]))
    height, width = image.shape[:2]
    scale = spec.resize_shorter / min(height, width)
    return _cut(resize_to(image, int(height * scale), int(width * scale), spec.interpolation), spec)


def _cut(image: NDArray[np.uint8], spec: CropSpec) -> NDArray[np.uint8]:
    """Cut [spec.height, spec.width] from the centre, rounded as torchvision does."""
    height, width = image.shape[:2]
    top, left = round((height - spec.height) / 2), round((width - spec.width) / 2)
    return image[top : top + spec.height, left : left + spec.width]


def _middle(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return image[top : top + side, left : left + side]
