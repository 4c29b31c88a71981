"""Images of all types that `predict` accepts, and the tensors that they are sent as."""

from __future__ import annotations

import contextlib
import io
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from boxwise._errors import InvalidImage
from boxwise._http2 import Buffer
from boxwise._request import Tensor
from boxwise._words import shortened

if TYPE_CHECKING:  # imported where it is used: most callers send files and draw nothing
    from PIL import Image

_File: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
ImageLike: TypeAlias = "_File | NDArray[np.uint8] | Image.Image"
"""A path, an encoded file or its bytes, uint8 [height, width, 3] RGB or [height, width] grey, or a
PIL image.
"""

Transfer: TypeAlias = Literal["auto", "encoded", "raw", "shm"]
"""How arrays and PIL images are sent.

"encoded" sends a JPEG, "raw" the pixels, "shm" the pixels in shared memory, to a server on this
machine. "auto" sends raw pixels to a server on this machine, and JPEGs to others.
"""

# The usual suffixes of files that Pillow opens.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".gif", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".ppm", ".pgm", ".pnm", ".tga"),
)

# Of 100, without chroma subsampling: a tenth of the bytes, and hardly a visible difference.
JPEG_QUALITY = 95
_SERVED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM")  # and WebP
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# The brand after `ftyp` -> Pillow's name of the format.
_BRANDS: dict[bytes, str] = {**dict.fromkeys(_HEIC, "HEIF"), b"avif": "AVIF", b"avis": "AVIF"}
# Base64 text of an image or a PDF.
_BASE64 = re.compile(
    r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk|SUkq|TU0A|AAAA|JVBERi0)[A-Za-z0-9+/_\-\s]{60,}={0,2}\s*"
)


def to_tensor(image: ImageLike, *, encode: bool = False, max_pixels: int | None = None) -> Tensor:
    """Return the tensor that an image is sent as.

    JPEG, PNG, WebP and BMP files are sent unchanged, as `image` UINT8 [bytes]; the server decodes
    them. Other files that Pillow can open are decoded here, and sent as `frame` UINT8 [height,
    width, 3] RGB, or as a PNG. Arrays and PIL images are sent as `frame`, or as a JPEG; a PIL image
    as a viewer shows it. The tensor is a view of the caller's memory if possible.

    Args:
        image: the image.
        encode: send arrays and PIL images as JPEG (`JPEG_QUALITY`), files decoded here as PNG.
        max_pixels: limit for files decoded here; None if the server's limit is not known yet.

    Raises:
        InvalidImage: a file cannot be read or decoded, an array is not uint8 RGB or grey, the
            values of a PIL image are ambiguous, or the type is none of these.
    """
    match image:
        case str() | os.PathLike():
            return _file(_read(image), encode, max_pixels)
        case bytes() | bytearray():
            return _file(image, encode, max_pixels)
        case memoryview() if image.ndim == 1:
            return _file(image if image.c_contiguous else bytes(image), encode, max_pixels)
        case np.ndarray() | memoryview():
            return _pixels(_rgb(np.asarray(image)), encode)
    if callable(getattr(image, "read", None)):
        return _file(_read_open(image), encode, max_pixels)
    from PIL import Image

    if isinstance(image, Image.Image):
        return _pixels(_shown(image), encode)
    raise InvalidImage(
        "image: expected a path, the bytes of a file, an open file, a uint8 array or a PIL image, "
        f"got {type(image).__name__}"
    )


def to_pil(tensor: Tensor) -> Image.Image:
    """Return the image of a tensor as the server sees it: RGB, EXIF orientation applied.

    Raises:
        InvalidImage: Pillow cannot decode the file.
    """
    from PIL import Image

    if tensor.name == "frame":
        height, width, _ = tensor.shape
        return Image.frombytes("RGB", (width, height), tensor.payload)
    try:
        opened = Image.open(io.BytesIO(tensor.payload))
    except (OSError, ValueError) as error:
        raise InvalidImage(f"image: cannot be decoded here ({shortened(error)})") from error
    return Image.fromarray(_shown(opened))


def is_cheap(image: ImageLike, *, encode: bool) -> bool:
    """Return whether `to_tensor` neither reads, decodes nor encodes."""
    if isinstance(image, (bytes, bytearray)) or (isinstance(image, memoryview) and image.ndim == 1):
        return _is_served(image)
    return not encode and isinstance(image, (np.ndarray, memoryview))


def _is_served(content: Buffer) -> bool:
    """Return whether the server decodes this format."""
    start = bytes(memoryview(content)[:12])
    return start.startswith(_SERVED) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def open_image(file: str | os.PathLike[str] | BinaryIO) -> Image.Image:
    """Open an image with Pillow, without decoding it; HEIC too, if its extra is installed.

    PostScript is excluded, because Pillow would run Ghostscript on it.

    Raises:
        OSError: it is not an image.
        ValueError: its header is out of range.
    """
    from PIL import Image

    return Image.open(file, formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    with contextlib.suppress(ImportError):
        _heif().register_heif_opener()
    Image.init()
    return tuple(each for each in Image.ID if each != "EPS")


def _heif() -> Any:
    """Return the package that reads HEIC: pi-heif, or pillow-heif by the same authors."""
    try:
        import pi_heif
    except ImportError:
        import pillow_heif as pi_heif
    return pi_heif


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        name = os.fspath(path)
        if kind := _not_a_path(name):
            raise InvalidImage(
                f"image: a str is the path of a file, and this one of {len(name)} "
                f"characters is {kind}"
            ) from None
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InvalidImage(f"image: cannot read {shortened(name)}: {shortened(why)}") from None


def _not_a_path(name: str) -> str | None:
    """Return what a str is that is obviously no path, and how to send it; None if it may be one."""
    if name.startswith("data:"):
        return "a data URL: send base64.b64decode(...) of what comes after its comma"
    if name.startswith(("http://", "https://")):
        return "a URL: fetch it, and send the bytes of the image"
    if _BASE64.fullmatch(name):
        return "base64 text: send base64.b64decode(...) of it"
    return None


def _read_open(file: Any) -> bytes:
    content = file.read()
    if not isinstance(content, bytes):
        raise InvalidImage(
            f"image: expected a file opened in binary mode ('rb'), read {type(content).__name__}"
        )
    return content


def _file(content: bytes | bytearray | memoryview, encode: bool, max_pixels: int | None) -> Tensor:
    """Return a file unchanged if the server decodes it, else its pixels.

    A file that nothing can decode is also sent unchanged: the server's error names its format.
    """
    if not len(content) or _is_served(content):
        return _encoded(content)
    try:
        opened = open_image(io.BytesIO(content))
    except OSError:
        start = bytes(memoryview(content)[4:12])
        kind = _BRANDS.get(start[4:]) if start[:4] == b"ftyp" else None
        if kind in _formats():
            name = "HEIC" if kind == "HEIF" else kind
            raise InvalidImage(f"image: the {name} file is truncated or corrupt") from None
        if kind == "HEIF":
            raise InvalidImage(
                'image: HEIC; to decode it, pip install "boxwise[heic]", or convert it to JPEG'
            ) from None
        return _encoded(content)
    except Exception as error:
        raise InvalidImage(f"image: cannot be opened ({shortened(error)})") from error
    width, height = opened.size
    if max_pixels is not None and width * height > max_pixels:
        raise InvalidImage(
            f"image: {width} x {height} is {width * height / 1e6:.1f} megapixels; at most "
            f"{max_pixels / 1e6:g} are accepted, so make it smaller before sending it"
        )
    pixels = _shown(opened)
    if not encode:
        return _pixels(pixels, encode=False)
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return _encoded(file.getbuffer())


def _encoded(content: bytes | bytearray | memoryview) -> Tensor:
    if isinstance(content, memoryview):
        content = content.cast("B")
    return Tensor("image", "UINT8", (len(content),), content)


def _pixels(pixels: NDArray[np.uint8], encode: bool) -> Tensor:
    pixels = np.ascontiguousarray(pixels)
    if not encode or 0 in pixels.shape:  # an empty JPEG does not exist; the server reports it
        return Tensor("frame", "UINT8", pixels.shape, pixels.data.cast("B") if pixels.size else b"")
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return _encoded(file.getbuffer())


def _rgb(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        fix = "scale it to 0..255 and use .astype(np.uint8)"
    elif array.ndim == 2:
        return np.repeat(array[..., np.newaxis], 3, axis=2)
    elif array.ndim == 3 and array.shape[2] == 3:
        return array
    elif array.ndim == 3 and array.shape[2] == 4:
        fix = "drop the alpha channel with image[..., :3]"
    else:
        fix = "send one image at a time, channels last"
    raise InvalidImage(
        f"image: expected uint8 [height, width, 3] RGB or [height, width] grey, "
        f"got {array.dtype} {list(array.shape)}: {fix}"
    )


def _shown(opened: Image.Image) -> NDArray[np.uint8]:
    """Return uint8 [height, width, 3] RGB as a viewer shows it, by the rules of the server.

    The image is upright, 16-bit values keep their high 8 bits, transparency becomes white, and an
    animation is its first frame.

    Raises:
        InvalidImage: the file is truncated or corrupt, or its values are ambiguous.
    """
    try:
        return _as_shown(opened)
    except InvalidImage:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and more
        kind = f"{opened.format} file" if opened.format else f"PIL image of mode {opened.mode}"
        raise InvalidImage(
            f"image: the {kind} is truncated or corrupt ({shortened(error)})"
        ) from error


def _as_shown(opened: Image.Image) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    opened = ImageOps.exif_transpose(opened)
    if opened.mode == "F" or opened.mode.startswith("I"):
        return _rgb(_to_8_bits(np.asarray(opened), opened.mode))
    if opened.has_transparency_data:
        opened = opened.convert("RGBA")
        opened = Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened)
    return np.asarray(opened.convert("RGB"))


def _to_8_bits(values: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """Return grey values of more than 8 bits, or of floats, as uint8.

    PIL does not define which value is white: it can be 1, 255 or 65535. The first one is used for
    which the brightest value of the image lies between a sixteenth of it and itself. If there is
    none, the image is nearly black, or has another scale.

    Args:
        values: [height, width], of any type.
        mode: of PIL: I;16 and its variants, I, or F.

    Raises:
        InvalidImage: no white value fits.
    """
    if not values.size:
        return values.astype(np.uint8)
    whites = {"I": (255, 65535), "F": (1, 255, 65535)}.get(mode, (65535,))
    lowest, brightest = float(values.min()), float(values.max())
    if lowest == brightest == 0:
        return np.zeros(values.shape, np.uint8)
    white = next((each for each in whites if lowest >= 0 and each / 16 <= brightest <= each), None)
    if white == 65535:
        return (values.astype(np.uint16) // 256).astype(np.uint8)
    if white is not None:
        scaled: NDArray[np.uint8] = np.rint(values * (255 / white)).astype(np.uint8)
        return scaled
    raise InvalidImage(
        f"image: mode {mode} with values from {lowest:g} to {brightest:g}: either it is "
        f"nearly black, or its white is not {' or '.join(map(str, whites))}; with `white` the "
        "value of white (1, 255, 4095, 65535), send uint8: "
        "np.clip(np.asarray(image) * (255 / white), 0, 255).astype(np.uint8)"
    )
