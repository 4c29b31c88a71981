"""Place an image of any size on the canvas of a detector, and map boxes back to the image."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Resize = Literal["letterbox", "letterbox_top_left", "stretch"]
Interpolation = Literal["nearest", "linear", "area", "cubic"]
ColorOrder = Literal["rgb", "bgr"]

_INTERPOLATION: dict[Interpolation, int] = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}


class Geometry(NamedTuple):
    """Where an image lies on its canvas: canvas = image * scale + pad, per axis, in pixels."""

    height: float
    width: float
    scale_x: float
    scale_y: float
    pad_x: float
    pad_y: float


def fit(height: int, width: int, canvas_height: int, canvas_width: int, resize: Resize) -> Geometry:
    """Return where an image of `height` x `width` lies on the canvas.

    A letterbox keeps the aspect ratio. Its sides are whole pixels, at least one, and the scale is
    computed from them, so that undoing it is exact. Centred, sides are rounded, and the padding on
    the left and top is rounded down. At the top left, sides are rounded down as YOLOX does: with
    rounding to nearest its COCO mAP changes by 0.004.
    """
    if resize == "stretch":
        new_height, new_width = canvas_height, canvas_width
    else:
        scale = min(canvas_width / width, canvas_height / height)
        whole = round if resize == "letterbox" else _cut_down
        new_height, new_width = max(1, whole(height * scale)), max(1, whole(width * scale))
    centred = resize == "letterbox"
    return Geometry(
        height=height,
        width=width,
        scale_x=new_width / width,
        scale_y=new_height / height,
        pad_x=(canvas_width - new_width) // 2 if centred else 0,
        pad_y=(canvas_height - new_height) // 2 if centred else 0,
    )


def _cut_down(side: float) -> int:
    """Round down, but not 330 * (416 / 330) = 415.99999999999994 to 415."""
    return int(side + 1e-6)


def decoded_scale(geometry: Geometry) -> int:
    """Return the largest of 1, 2, 4 and 8 by which an image can be decoded smaller and still cover
    the canvas without upscaling.
    """
    return next(
        (scale for scale in (8, 4, 2) if scale * max(geometry.scale_x, geometry.scale_y) <= 1), 1
    )


def draw(
    frame: NDArray[np.uint8],
    geometry: Geometry,
    canvas: NDArray[np.uint8],
    *,
    pad_value: int,
    interpolation: Interpolation,
    color_order: ColorOrder,
) -> None:
    """Resize a frame onto its canvas, in place.

    Args:
        frame: uint8 [height, width, 3], RGB, decoded at any scale.
        geometry: where the image lies, from `fit` for this canvas.
        canvas: uint8 [canvas height, canvas width, 3]; all of it is written.
        pad_value: 0 to 255, the grey around the image.
        interpolation: of the resize.
        color_order: of the canvas's channels.
    """
    width, height = (
        round(geometry.width * geometry.scale_x),
        round(geometry.height * geometry.scale_y),
    )
    left, top = int(geometry.pad_x), int(geometry.pad_y)
    covered = canvas[top : top + height, left : left + width]
    if covered.shape != canvas.shape:
        canvas[:] = pad_value
    cv2.resize(frame, (width, height), dst=covered, interpolation=_INTERPOLATION[interpolation])
    if color_order == "bgr":
        cv2.cvtColor(covered, cv2.COLOR_RGB2BGR, dst=covered)


def resize_to(
    image: NDArray[np.uint8], height: int, width: int, interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Resize uint8 [h, w, 3] to [height, width, 3]."""
    return cv2.resize(image, (width, height), interpolation=_INTERPOLATION[interpolation]).astype(
        np.uint8, copy=False
    )


def to_image(boxes: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Map boxes from canvas to image pixels, clipped to the image.

    Args:
        boxes: float32 [n, 4], xyxy in canvas pixels.
        geometry: where the image lies.

    Returns:
        float32 [n, 4], xyxy within [0, width] x [0, height].
    """
    pad = np.array([geometry.pad_x, geometry.pad_y] * 2, np.float32)
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2, np.float32)
    limit = np.array([geometry.width, geometry.height] * 2, np.float32)
    return np.clip((boxes - pad) / scale, 0, limit)
