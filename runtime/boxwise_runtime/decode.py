"""Decode an image file to RGB pixels, as a viewer shows them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from boxwise_contract.limits import ImageLimits
from boxwise_contract.refusals import InvalidInput
from boxwise_runtime.formats import described, served_format
from boxwise_runtime.image_limits import skim

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_SCALED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_LYING = (5, 6, 7, 8)  # EXIF 2.32, tag Orientation: rows of the file are columns of the image
_MOST_CHARACTERS = 200  # of a decoder's message within ours
_DARKEST_WHITE = 4096  # of 65,536: a 16-bit image that is darker has fewer bits, and would be black
_STRIP = 1 << 18  # pixels
_RUNS = (1, 2)  # BI_RLE8, BI_RLE4 of a BMP's header

# Our own limit is checked against the header; Pillow's would only warn.
Image.MAX_IMAGE_PIXELS = None
# Load the decoders now: otherwise the first invalid file takes 50 ms.
Image.init()


def decode(encoded: NDArray[np.uint8], limits: ImageLimits) -> NDArray[np.uint8]:
    """Decode one JPEG, PNG, WebP or BMP file.

    EXIF orientation is applied, transparency is composited on white, grey, palette and CMYK images
    are converted to RGB. 16-bit images keep their high byte, and are refused if all of those are
    nearly 0. Of an animation, the first frame is decoded.

    Args:
        encoded: uint8 [bytes], the file.
        limits: checked from the header.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        InvalidInput: the file is empty, of another kind, too large, truncated or corrupt.
    """
    return EncodedImage(encoded, limits).pixels()


class EncodedImage:
    """A file of which only the header was read; the arguments and errors are those of `decode`."""

    def __init__(self, encoded: NDArray[np.uint8], limits: ImageLimits) -> None:
        limits.check_file(encoded.size)
        self._encoded = skim(encoded)
        self._image = _open(self._encoded)
        width, height = self._image.size
        limits.check_size("image", height, width)

    @property
    def scalable(self) -> bool:
        """Whether it can be decoded at a fraction of its size: a JPEG other than CMYK."""
        return self._image.format in ("JPEG", "MPO") and self._image.mode in ("L", "RGB")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a JPEG as it is shown, EXIF orientation applied."""
        width, height = self._image.size
        return (width, height) if _orientation(self._image) in _LYING else (height, width)

    def pixels(self, scale: int = 1) -> NDArray[np.uint8]:
        """Decode it; if it is scalable, at 1, 1/2, 1/4 or 1/8 of its size, which is cheaper.

        Args:
            scale: 1, 2, 4 or 8, by which the sides are divided.

        Returns:
            uint8 [height, width, 3], RGB; sides are rounded up.
        """
        image = self._image
        if image.format == "BMP" and image.info.get("compression") in _RUNS:
            return _unrolled(self._encoded)
        if self.scalable:
            # OpenCV decodes these 1.4 times as fast as Pillow (2.9 against 4.0 ms for a COCO photo)
            # and applies EXIF orientation itself. Where it returns None, Pillow raises the reason.
            frame = cv2.imdecode(self._encoded, cv2.IMREAD_COLOR_RGB | _SCALED[scale])
            if frame is not None:
                return frame.astype(np.uint8, copy=False)
        try:
            with _quietly():
                frame = _webp(self._encoded) if image.format == "WEBP" else _to_rgb(image)
                return _turned(frame, _orientation(image))
        except InvalidInput:
            raise
        except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and more
            said = str(error)[:_MOST_CHARACTERS]
            raise InvalidInput(
                f"image: the {image.format} file is truncated or corrupt ({said})", "corrupt"
            ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress Pillow's warnings about odd metadata, of which EXIF can cause thousands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(encoded: NDArray[np.uint8]) -> Image.Image:
    """Parse the header."""
    try:
        with _quietly():
            return Image.open(io.BytesIO(encoded.data), formats=FORMATS)
    except Exception as error:
        start = bytes(encoded[:4096])
        if (kind := served_format(start)) is not None:
            raise InvalidInput(
                f"image: the {kind} file is truncated or corrupt: its header cannot be read "
                f"({encoded.size} bytes)",
                "corrupt",
            ) from error
        what = (
            f"but {found}"
            if (found := described(start))
            else f"({encoded.size} bytes, starting with {_hex(start)})"
        )
        raise InvalidInput(f"image: not a JPEG, PNG, WebP or BMP file {what}", "format") from error


def _hex(start: bytes) -> str:
    return start[:8].hex(" ")


def _unrolled(encoded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Decode a run-length encoded BMP. Pillow does it in Python: 40 times OpenCV's time, seconds
    for 10 MB.
    """
    frame = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise InvalidInput(
            "image: the BMP file is truncated or corrupt (its runs end before its pixels)",
            "corrupt",
        )
    return frame.astype(np.uint8, copy=False)


def _webp(encoded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Decode a WebP, or the first frame of an animation. Pillow uses its decoder of animations for
    both, which takes 30 bytes a pixel.
    """
    frame = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if frame is None:
        raise InvalidInput(
            "image: the WEBP file is truncated or corrupt (its pixels cannot be decoded)", "corrupt"
        )
    if frame.shape[2] == 3:
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=frame).astype(np.uint8, copy=False)
    rgb = np.empty((*frame.shape[:2], 3), np.uint8)
    for strip in _strips(*frame.shape[:2]):
        part = Image.fromarray(cv2.cvtColor(frame[strip], cv2.COLOR_BGRA2RGBA), "RGBA")
        rgb[strip] = _on_white(part)
    return rgb


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert an image to RGB strip by strip, which bounds the memory of intermediate modes."""
    image.load()
    width, height = image.size
    if image.mode.startswith("I"):
        _refuse_black(image)
    rgb = np.empty((height, width, 3), np.uint8)
    for strip in _strips(height, width):
        part = image.crop((0, strip.start, width, strip.stop))
        if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
            rgb[strip] = (np.asarray(part) >> 8)[..., np.newaxis]
        else:
            part.info = image.info  # where a palette's transparency is
            rgb[strip] = _on_white(part)
    return rgb


def _strips(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows, each of about a quarter of a megapixel."""
    rows = max(1, _STRIP // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    """Convert to RGB, transparency composited on white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _refuse_black(image: Image.Image) -> None:
    """Refuse 16-bit grey that uses fewer bits: its high bytes are all 0."""
    _, brightest = image.getextrema()
    if 0 < int(brightest) < _DARKEST_WHITE:  # type: ignore[arg-type]
        raise InvalidInput(
            f"image: 16-bit grey whose brightest value is {brightest} of 65535, which would be "
            "black; where white is less (255, 4095), scale it to 8 bits before sending it",
            "format",
        )


def _orientation(image: Image.Image) -> int | None:
    """Return EXIF 2.32's Orientation, 1 to 8; None if it is missing or unreadable."""
    try:
        with _quietly():
            return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - odd metadata is no reason to refuse an image
        return None


def _turned(frame: NDArray[np.uint8], orientation: int | None) -> NDArray[np.uint8]:
    """Rotate and mirror a frame by its EXIF orientation."""
    match orientation:
        case 2 | 4:
            frame = cv2.flip(frame, 1 if orientation == 2 else 0).astype(np.uint8, copy=False)
        case 3 | 6 | 7 | 8:
            turns = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 7: cv2.ROTATE_90_CLOCKWISE}
            turn = turns.get(orientation, cv2.ROTATE_90_COUNTERCLOCKWISE)
            frame = cv2.rotate(frame, turn).astype(np.uint8, copy=False)
            if orientation == 7:
                cv2.flip(frame, 0, dst=frame)
        case 5:
            frame = cv2.transpose(frame).astype(np.uint8, copy=False)
    return frame
