"""Detections drawn on an image: a box in the colour of its class, and a readable caption."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from boxwise._detections import Detection

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont


# Of the shorter side, so that captions look alike at all sizes, but stay readable.
_TEXT_SIZE = 1 / 30
_SMALLEST_TEXT = 11  # pixels
_LINE_WIDTH = 1 / 220
_HIGHEST_CAPTION = 1 / 3  # of the image's height

_GOLDEN_RATIO = 0.618034  # steps of it around the hue circle keep neighbouring class ids apart


class _Area(NamedTuple):
    """Pixels from left, top to right, bottom, which are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: _Area) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def draw(image: Image.Image, detections: Sequence[Detection]) -> Image.Image:
    """Return a copy of `image` (RGB) with the box, class and best label of each detection.

    The best detections are drawn on top.
    """
    from PIL import ImageDraw, ImageFont

    image = image.copy()
    short_side = min(image.size)
    line_width = max(1, round(short_side * _LINE_WIDTH))
    text_size = max(_SMALLEST_TEXT, round(short_side * _TEXT_SIZE))
    # Pillow returns this type if a size is given.
    font = cast("ImageFont.FreeTypeFont", ImageFont.load_default(text_size))
    canvas = ImageDraw.Draw(image)
    for detection in reversed(detections):
        left, top, right, bottom = _box_area(detection.xyxy, image.size)
        canvas.rectangle(
            (left, top, right - 1, bottom - 1), outline=colour(detection.class_id), width=line_width
        )
    captions: list[tuple[Detection, str, _Area]] = []
    for detection in detections:
        taken = [area for _, _, area in captions]
        for text in _captions(detection):
            width, height = _text_size(canvas, text, font)
            if width <= image.width and height <= image.height * _HIGHEST_CAPTION:
                area = _place(
                    width, height, _box_area(detection.xyxy, image.size), image.size, taken
                )
                captions.append((detection, text, area))
                break
    for detection, text, area in reversed(captions):
        _write(canvas, text, font, area, colour(detection.class_id))
    return image


def colour(class_id: int) -> tuple[int, int, int]:
    """Return the bright colour of a class, unlike those of neighbouring ids."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN_RATIO % 1.0, 0.75, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _box_area(box: tuple[float, float, float, float], size: tuple[int, int]) -> _Area:
    """Return the pixels of a box inside the image, at least one."""
    width, height = size
    left, top = min(max(round(box[0]), 0), width - 1), min(max(round(box[1]), 0), height - 1)
    return _Area(
        left,
        top,
        min(max(round(box[2]), left + 1), width),
        min(max(round(box[3]), top + 1), height),
    )


def _captions(detection: Detection) -> Iterator[str]:
    """Yield possible captions, the most informative first."""
    named = f"{detection.class_name} {detection.confidence:.2f}"
    label = detection.best_label
    if label is not None:
        yield f"{named}\n{label.name} {label.score:.2f}"
    yield named
    yield detection.class_name


def _padding(font: ImageFont.FreeTypeFont) -> int:
    return round(font.size / 4)


def _text_size(
    canvas: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont
) -> tuple[int, int]:
    """Return width and height of a caption with its padding."""
    _, _, right, bottom = canvas.textbbox((0, 0), text, font)
    return round(right) + 2 * _padding(font), round(bottom) + 2 * _padding(font)


def _place(
    width: int, height: int, box: _Area, size: tuple[int, int], taken: Sequence[_Area]
) -> _Area:
    """Return the place of a caption: above its box, inside or below it; at its left or right edge.

    It is inside the image, and on no other caption if there is room.
    """
    lefts = [min(box.left, size[0] - width), max(min(box.right, size[0]) - width, 0)]
    tops = [top for top in (box.top - height, box.top, box.bottom) if 0 <= top <= size[1] - height]
    areas = [
        _Area(left, top, left + width, top + height)
        for left in lefts
        for top in tops or [size[1] - height]
    ]
    return next((area for area in areas if not any(map(area.overlaps, taken))), areas[0])


def _write(
    canvas: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont,
    area: _Area,
    background: tuple[int, int, int],
) -> None:
    red, green, blue = background
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue  # as the eye weighs them (ITU-R BT.601)
    canvas.rectangle((area.left, area.top, area.right - 1, area.bottom - 1), fill=background)
    origin = (area.left + _padding(font), area.top + _padding(font))
    canvas.text(origin, text, "black" if brightness > 140 else "white", font)
