"""What `predict` accepts as a picture, and the tensor that it is sent as."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from boxwise._errors import InvalidInput
from boxwise._request import Tensor

if TYPE_CHECKING:  # Pillow is imported where it is used: most callers send files and draw nothing
    from PIL import Image

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.uint8] | Image.Image"
"""A path, an encoded file's bytes, uint8 [height, width, 3] RGB or [height, width] grey, or a PIL image."""


def to_tensor(image: ImageLike) -> Tensor:
    """The tensor that a picture is sent as.

    Files, by path or by their bytes, become `image` UINT8 [bytes] and are decoded by the server. Arrays and PIL
    images become `frame` UINT8 [height, width, 3] RGB; a PIL image as a viewer would show it.

    Raises:
        InvalidInput: a file that can not be read, an array that is not RGB or grey in uint8, or another type.
    """
    match image:
        case str() | os.PathLike():
            return _encoded(_read(Path(image)))
        case bytes() | bytearray():
            return _encoded(image)
        case memoryview():
            return _encoded(image if image.c_contiguous else bytes(image))
        case np.ndarray():
            return _frame(_rgb(image))
    from PIL import Image

    if isinstance(image, Image.Image):
        return _frame(np.asarray(_as_shown(image)))
    raise InvalidInput(
        f"image: expected a path, the bytes of a file, a uint8 array or a PIL image, got {type(image).__name__}"
    )


def to_pil(picture: Tensor) -> Image.Image:
    """The picture in a tensor of `to_tensor`, as the server sees it: RGB, EXIF orientation applied.

    Raises:
        InvalidInput: the file is not one that Pillow can decode.
    """
    from PIL import Image, UnidentifiedImageError

    if picture.name == "frame":
        height, width, _ = picture.shape
        return Image.frombytes("RGB", (width, height), picture.payload)
    try:
        return _as_shown(Image.open(io.BytesIO(picture.payload)))
    except (UnidentifiedImageError, OSError) as error:
        raise InvalidInput(f"image: not a picture that can be drawn on ({error})") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"image: cannot read {path}: {error.strerror or error}") from error


def _encoded(content: bytes | bytearray | memoryview) -> Tensor:
    return Tensor("image", "UINT8", (memoryview(content).nbytes,), content)


def _frame(pixels: NDArray[np.uint8]) -> Tensor:
    pixels = np.ascontiguousarray(pixels)
    return Tensor("frame", "UINT8", pixels.shape, pixels.data)


def _rgb(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        mend = "scale it to 0..255 and use .astype(np.uint8)"
    elif array.ndim == 2:
        return np.repeat(array[..., np.newaxis], 3, axis=2)
    elif array.ndim == 3 and array.shape[2] == 3:
        return array
    elif array.ndim == 3 and array.shape[2] == 4:
        mend = "drop the alpha channel with image[..., :3]"
    else:
        mend = "send one picture at a time, channels last"
    raise InvalidInput(
        f"image: expected uint8 [height, width, 3] RGB or [height, width] grey, "
        f"got {array.dtype} {list(array.shape)}: {mend}"
    )


def _as_shown(picture: Image.Image) -> Image.Image:
    """RGB as a viewer shows it, by the rules of the server: upright, 16 bits cut to their high 8, laid on white."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")
