"""Small files that ask a decoder for much: pixels, text to inflate, parts to walk, scans to go
over.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
_NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)


def saved(kind: str, **options: object) -> bytes:
    """64 x 64 pixels of noise."""
    file = io.BytesIO()
    Image.fromarray(_NOISE).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """One chunk of a PNG, its checksum right."""
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(
    width: int = 8,
    height: int = 8,
    *,
    pixels: bytes | None = None,
    before: bytes = b"",
    between: bytes = b"",
) -> bytes:
    """A black RGB image, or what `pixels` inflates to; further chunks after its header, and before
    its pixels.
    """
    pixels = bytes((1 + 3 * width) * height) if pixels is None else pixels
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        PNG + header + before + between + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND")
    )


def segment(marker: int, content: bytes = b"") -> bytes:
    """One segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(before: bytes = b"", *, after: bytes = b"", **options: object) -> bytes:
    """A JPEG with more before its first segment, and behind its end."""
    file = saved("JPEG", **options)
    return file[:2] + before + file[2:] + after


def scans(
    width: int, height: int, count: int, *, progressive: bool = True, components: int = 1
) -> bytes:
    """A JPEG of empty scans: 12 bytes each, and each over every coefficient of the image."""
    file = b"\xff\xd8" + segment(0xDB, b"\0" + bytes([1] * 64))
    planes = b"".join(bytes([number, 0x11, 0]) for number in range(1, components + 1))
    file += segment(
        0xC2 if progressive else 0xC0, struct.pack(">BHHB", 8, height, width, components) + planes
    )
    for table in (b"\x00", b"\x10"):
        file += segment(0xC4, table + bytes([1, *[0] * 15]) + b"\0")
    for number in range(count):
        file += segment(0xDA, bytes([1, 1 + number % components, 0, progressive, 63, 0]))
    return file + b"\xff\xd9"


def runs(width: int, height: int, content: bytes) -> bytes:
    """A BMP of RLE8."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(content), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return (
        b"BM"
        + struct.pack("<IHHI", start + len(content), 0, 0, start)
        + header
        + bytes(1024)
        + content
    )


def bmp(width: int, height: int) -> bytes:
    """The header of a BMP."""
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)
    )


def animated_webp(width: int, height: int) -> bytes:
    """A canvas of this size, and one frame of 16 x 16 on it."""
    still = io.BytesIO()
    Image.new("RGB", (16, 16)).save(still, "WEBP", lossless=True)
    frame = bytes(6) + struct.pack("<I", 15)[:3] * 2 + bytes(4) + still.getvalue()[12:]
    canvas = (
        bytes([2, 0, 0, 0]) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    )
    parts = [(b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame)]
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(content)) + content for kind, content in parts
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def overlapping_exif(entries: int, size: int) -> bytes:
    """EXIF whose every entry is the same `size` bytes."""
    start = 10 + 12 * entries + 4
    table = b"".join(struct.pack("<HHII", tag, 7, size, start) for tag in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + table + bytes(4) + bytes(size)


@functools.cache
def over_the_limit() -> dict[str, bytes]:
    """Files of more than 25 megapixels, by what they are."""
    lying = bytearray(saved("JPEG"))
    at = lying.index(b"\xff\xc0") + 5
    lying[at : at + 4] = struct.pack(">HH", 65000, 65000)
    big = png(30000, 30000, pixels=b"")
    return {
        "a PNG of 900 megapixels": big,
        "a PNG of all there can be": png(2**31 - 1, 2**31 - 1, pixels=b""),
        "a PNG of 900 megapixels with texts": big[:33] + _texts() + big[33:],
        "a JPEG of 4225 megapixels": bytes(lying),
        "a progressive JPEG of 4225 megapixels": scans(65000, 65000, 90),
        "a WebP canvas of 268 megapixels": animated_webp(16383, 16383),
        "a WebP canvas of 3355 megapixels": animated_webp(1 << 24, 200),
        "a BMP of 900 megapixels": bmp(30000, 30000),
        "a BMP of runs of 900 megapixels": runs(30000, 30000, b"\0\2\xff\xff" * 1000),
    }


@functools.cache
def of_too_many_parts() -> dict[str, bytes]:
    """Files of a few pixels or of 25 megapixels, and up to a megabyte, that no decoder should walk
    to their end.
    """
    return {
        "a JPEG of 1,000 scans of 25 megapixels": scans(5000, 5000, 1000),
        "a JPEG of 1,000 scans that is not progressive": scans(
            5000, 5000, 1000, progressive=False, components=3
        ),
        "a JPEG of 80,000 scans": scans(5000, 5000, 80_000, components=3),
        "a JPEG of 77,000 segments of EXIF": jpeg(segment(0xE1, b"Exif\0\0abc") * 77_000),
        "a JPEG of 250,000 comments": jpeg(segment(0xFE) * 250_000),
        "a JPEG of 1 MB of fill bytes": jpeg(b"\xff" * 1_000_000),
        "a JPEG of 1 MB of nothing between segments": jpeg(bytes(1_000_000)),
        "a JPEG of 500,000 ends": jpeg(b"\xff\xd9" * 500_000),
        "a JPEG of 500,000 extensions": jpeg(b"\xff\xf0" * 500_000),
        "a PNG of 80,000 chunks": png(before=chunk(b"prVt") * 80_000),
        "a PNG of 80,000 pieces of pixels": png(between=chunk(b"IDAT") * 80_000),
        "a BMP of 250,000 jumps by nothing": runs(5000, 5000, b"\0\2\0\0" * 250_000),
    }


@functools.cache
def of_much_to_inflate() -> dict[str, bytes]:
    """Images of a few pixels, and of much beside them that nobody asked for: they are seen as any
    other.
    """
    hundred_mb = zlib.compress(bytes(100 << 20), 9)
    exif = overlapping_exif(2700, 32_000)
    return {
        "a PNG with 63 texts of 1 MB": png(before=_texts()),
        "a PNG with a text of 100 MB": png(before=chunk(b"zTXt", b"k\0\0" + hundred_mb)),
        "a PNG with a text of 100 MB in UTF-8": png(
            before=chunk(b"iTXt", b"k\0\1\0\0\0" + hundred_mb)
        ),
        "a PNG with a profile of 100 MB": png(before=chunk(b"iCCP", b"k\0\0" + hundred_mb)),
        "a PNG with 900 profiles of 1 MB": png(before=chunk(b"iCCP", b"k\0\0" + _mb()) * 900),
        "a PNG whose 8 x 8 pixels inflate to 200 MB": png(pixels=bytes(200 << 20)),
        "a PNG with EXIF of entries that overlap": png(before=chunk(b"eXIf", exif)),
        "a JPEG with EXIF of entries that overlap": jpeg(segment(0xE1, b"Exif\0\0" + exif)),
        "a WebP with EXIF of entries that overlap": saved("WEBP", exif=b"Exif\0\0" + exif),
    }


def _mb() -> bytes:
    return zlib.compress(bytes((1 << 20) - 100), 9)


def _texts() -> bytes:
    return b"".join(chunk(b"zTXt", b"k%d\0\0" % number + _mb()) for number in range(63))
