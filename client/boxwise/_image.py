"""What `predict` accepts as a picture, and the tensor that it is sent as."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from boxwise._errors import InvalidImage
from boxwise._request import Tensor

if TYPE_CHECKING:  # Pillow is imported where it is used: most callers send files and draw nothing
    from PIL import Image

ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[np.uint8] | Image.Image"
)
"""A path, an encoded file or its bytes, uint8 [height, width, 3] RGB or [height, width] grey, or a PIL image."""

Transfer: TypeAlias = Literal["auto", "encoded", "raw", "shm"]
"""How pixels travel: as a JPEG, as they are, through shared memory, or "auto", raw to this machine and else encoded."""

# Of 100, without chroma subsampling: nearly the same pixels in a tenth of the bytes.
JPEG_QUALITY = 95


def to_tensor(image: ImageLike, *, encode: bool = False) -> Tensor:
    """The tensor that a picture is sent as.

    Files become `image` UINT8 [bytes], as they are, and are decoded by the server. Arrays and PIL images become `frame`
    UINT8 [height, width, 3] RGB, or `image` where they are to be encoded; a PIL image as a viewer would show it. The
    tensor is a view of the caller's own memory wherever it can be.

    Args:
        image: the picture.
        encode: send pixels as a JPEG, see `JPEG_QUALITY`.

    Raises:
        InvalidImage: a file that can not be read, an array that is not RGB or grey in uint8, or another type.
    """
    match image:
        case str() | os.PathLike():
            return _encoded(_read(Path(image)))
        case bytes() | bytearray():
            return _encoded(image)
        case memoryview() if image.ndim == 1:
            return _encoded(image if image.c_contiguous else bytes(image))
        case np.ndarray() | memoryview():
            return _pixels(_rgb(np.asarray(image)), encode)
    if callable(getattr(image, "read", None)):
        return _encoded(_read_open(image))
    from PIL import Image

    if isinstance(image, Image.Image):
        return _pixels(np.asarray(_as_shown(image)), encode)
    raise InvalidImage(
        "image: expected a path, the bytes of a file, an open file, a uint8 array or a PIL image, "
        f"got {type(image).__name__}"
    )


def to_pil(picture: Tensor) -> Image.Image:
    """The picture in a tensor of `to_tensor`, as the server sees it: RGB, EXIF orientation applied.

    Raises:
        InvalidImage: the file is not one that Pillow can decode.
    """
    from PIL import Image, UnidentifiedImageError

    if picture.name == "frame":
        height, width, _ = picture.shape
        return Image.frombytes("RGB", (width, height), picture.payload)
    try:
        return _as_shown(Image.open(io.BytesIO(picture.payload)))
    except (UnidentifiedImageError, OSError) as error:
        raise InvalidImage(f"image: not a picture that can be drawn on ({error})") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidImage(f"image: cannot read {path}: {error.strerror or error}") from error


def _read_open(file: Any) -> bytes:
    content = file.read()
    if not isinstance(content, bytes):
        raise InvalidImage(f"image: expected a file opened in binary mode ('rb'), read {type(content).__name__} of it")
    return content


def _encoded(content: bytes | bytearray | memoryview) -> Tensor:
    if isinstance(content, memoryview):
        content = content.cast("B")
    return Tensor("image", "UINT8", (len(content),), content)


def _pixels(pixels: NDArray[np.uint8], encode: bool) -> Tensor:
    pixels = np.ascontiguousarray(pixels)
    if not encode or 0 in pixels.shape:  # of no pixels no JPEG can be made; the server says so
        return Tensor("frame", "UINT8", pixels.shape, pixels.data.cast("B") if pixels.size else b"")
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return _encoded(file.getbuffer())


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
    raise InvalidImage(
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
