"""What an image is held to before a pixel of it is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from boxwise_contract.refusals import InvalidInput

MEGA = 1_000_000
"""Of pixels in a megapixel, of bytes in a megabyte."""


@dataclass(kw_only=True)
class ImageLimits:
    """The limits of a pipeline, in `limits` of its info document.

    Attributes:
        max_pixels: height x width, of a file or a frame.
        max_bytes: of an encoded file.
        max_aspect: the longer side / the shorter.
    """

    max_pixels: int
    max_bytes: float = math.inf
    max_aspect: float = math.inf

    def check_file(self, size: int) -> None:
        """Refuse an encoded file of no bytes, or of too many.

        Raises:
            InvalidInput: gives the size and the limit.
        """
        if size == 0:
            raise InvalidInput(
                "image: empty; expected the bytes of a JPEG, PNG, WebP or BMP file", "empty"
            )
        if size > self.max_bytes:
            raise InvalidInput(
                f"image: a file of {size / MEGA:.1f} MB; at most {self.max_bytes / MEGA:g} are "
                "accepted, so make the image smaller or compress it more",
                "size",
            )

    def check_size(self, name: str, height: int, width: int) -> None:
        """Refuse an image of no pixels, of too many, or of an aspect beyond the limit.

        Args:
            name: the input, "image" or "frame".
            height: pixels.
            width: pixels.

        Raises:
            InvalidInput: names the input, its size and the limit.
        """
        if height < 1 or width < 1:
            raise InvalidInput(
                f"{name}: {width} x {height} pixels; expected at least 1 x 1", "empty"
            )
        if height * width > self.max_pixels:
            raise InvalidInput(
                f"{name}: {width} x {height} is {height * width / MEGA:.1f} megapixels; at most "
                f"{self.max_pixels / MEGA:g} are accepted, so make it smaller before sending it",
                "size",
            )
        if max(height, width) > self.max_aspect * min(height, width):
            raise InvalidInput(
                f"{name}: {width} x {height}, one side over {self.max_aspect:g} times the other; "
                "send a part of it, or several",
                "size",
            )
