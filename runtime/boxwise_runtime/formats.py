"""Recognise a file that cannot be decoded by its first bytes, and say what to do about it."""

from __future__ import annotations

import base64
import binascii
import re

_START = 4096  # bytes that are examined
# ISO 14496-12: `ftyp` has the file's brand, four letters, and compatible brands.
_BRANDS = (
    ((b"avif", b"avis"), "AVIF"),
    ((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
    ((b"mif1", b"msf1"), "HEIF"),
    ((b"crx ",), "a camera's raw file (CR3)"),
)
_CONVERT = "convert it to JPEG or PNG (the Python SDK decodes it on its own side where Pillow can)"
_HEIC = (
    'convert it to JPEG (the Python SDK decodes it on its own side with the extra "boxwise[heic]")'
)
_FRAMES = "send its frames one by one (`Client.predict_video` in Python)"
_MAGIC = (
    (b"GIF87a", "GIF", _CONVERT),
    (b"GIF89a", "GIF", _CONVERT),
    (b"II*\0", "TIFF (or a camera's raw file)", _CONVERT),
    (b"MM\0*", "TIFF (or a camera's raw file)", _CONVERT),
    (b"II+\0", "TIFF (BigTIFF)", _CONVERT),
    (b"MM\0+", "TIFF (BigTIFF)", _CONVERT),
    (b"\xff\x0a", "JPEG XL", _CONVERT),
    (b"\0\0\0\x0cJXL ", "JPEG XL", _CONVERT),
    (b"\0\0\0\x0cjP  ", "JPEG 2000", _CONVERT),
    (b"\xff\x4f\xff\x51", "JPEG 2000", _CONVERT),
    (b"8BPS", "a Photoshop file (PSD)", _CONVERT),
    (b"\0\0\1\0", "an icon (ICO)", _CONVERT),
    (b"DDS ", "DDS", _CONVERT),
    (b"qoif", "QOI", _CONVERT),
    (b"%PDF", "PDF", "render its pages to images first"),
    (b"%!PS", "PostScript", "render its pages to images first"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)", _FRAMES),
    (
        b"\x93NUMPY",
        "an array of NumPy (.npy)",
        "send the pixels as the tensor `frame`, UINT8 [height, width, 3]",
    ),
    (b"PK\3\4", "a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", "a file compressed by gzip", "decompress it first"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself: git lfs pull"),
)
_RIFF = {b"AVI ": "a video (AVI)", b"WAVE": "sound (WAV)"}
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes of the second header, by its version
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-\s]{16,}={0,2}\s*")
_DATA_URL = re.compile(rb"data:[\w.+/\-]*(;[\w=\-]+)*(;base64)?,", re.IGNORECASE)


def served_format(start: bytes) -> str | None:
    """Return which of JPEG, PNG, WebP and BMP these bytes begin; None for none."""
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return None


def described(content: bytes) -> str | None:
    """Return what these bytes are and the fix, as the end of a sentence; None if unknown.

    >>> described(b"%PDF-1.7")
    'PDF: render its pages to images first'
    """
    start = content[:_START]
    if (found := _binary(start) or _text(start)) is None:
        return None
    return ": ".join(found)


def _binary(start: bytes) -> tuple[str, str] | None:
    for magic, name, fix in _MAGIC:
        if start.startswith(magic):
            return name, fix
    if start[4:8] == b"ftyp":
        size = min(max(int.from_bytes(start[:4], "big"), 16), 256)
        brands = [start[i : i + 4] for i in range(8, size, 4)]
        for known, name in _BRANDS:
            if any(brand in known for brand in brands):
                return name, _CONVERT if name == "AVIF" else _HEIC
        return "a video (MP4 or QuickTime)", _FRAMES
    if start[:4] == b"RIFF" and (kind := _RIFF.get(start[8:12])):
        return kind, _FRAMES
    return None


def _text(start: bytes) -> tuple[str, str] | None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = text[:1024].lower()
    if _DATA_URL.match(text):
        return "a data URL", "decode what comes after its comma from base64 first"
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML", "is it an error page in place of the image?"
    if b"<svg" in lower and lower.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype")):
        return "SVG", "render it to PNG first"
    if lower.startswith(b"<?xml"):
        return "XML", "is it an error message in place of the image?"
    if text[:1] in (b"{", b"[") and text[1:].lstrip()[:1] in (b'"', b"{", b"[", b"}", b"]"):
        return "JSON", "is it an error message in place of the image?"
    if lower.startswith((b"http://", b"https://")):
        return "a URL", "fetch it first, and send the bytes of the image"
    if _BASE64.fullmatch(start[:1024].rstrip()) and (inside := _unpacked(start)) is not None:
        return f"base64 text{inside}", "decode it first, and send the bytes of the image"
    return None


def _unpacked(start: bytes) -> str | None:
    """Return which format base64 text holds, as the end of a phrase; None if it is not base64."""
    digits = b"".join(start[:1024].split()).translate(bytes.maketrans(b"-_", b"+/"))
    try:
        content = base64.b64decode(digits[: len(digits) // 4 * 4], validate=True)
    except binascii.Error:
        return None
    if (inside := served_format(content)) is not None:
        return f" of a {inside} file"
    if (other := _binary(content)) is not None:
        return f" of {other[0]}"
    # Letters alone may as well be words.
    return "" if len(digits) >= 256 and not digits.isalpha() else None
