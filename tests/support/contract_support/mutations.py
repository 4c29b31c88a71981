"""Image files, changed as nobody would write them: any bytes, and the numbers of each format's own
parts.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from contract_support.bombs import chunk, runs

_CHUNKS = (
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"iCCP",
    b"eXIf",
    b"tRNS",
    b"PLTE",
    b"gAMA",
    b"acTL",
    b"fcTL",
    b"fdAT",
)
ODD = (
    0,
    1,
    2,
    3,
    7,
    8,
    127,
    128,
    255,
    256,
    1000,
    4097,
    32767,
    32768,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
)


def seeds() -> list[bytes]:
    """Small images of every kind that is accepted."""
    noise = np.random.default_rng(11)
    smooth = np.stack(
        [*np.meshgrid(np.arange(48), np.arange(40)), np.full((40, 48), 90)], -1
    ).astype(np.uint8)
    rgb, grey = Image.fromarray(smooth), Image.fromarray(smooth[..., 0])
    sharp = Image.fromarray(noise.integers(0, 256, (9, 13, 4)).astype(np.uint8), "RGBA")
    palette = rgb.quantize(16)
    wide = Image.fromarray(noise.integers(0, 65536, (8, 8)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return [
        _saved(rgb, "JPEG"),
        _saved(rgb, "JPEG", progressive=True, exif=exif),
        _saved(rgb, "JPEG", subsampling=0, icc_profile=bytes(500), comment="said"),
        _saved(rgb, "JPEG", restart_marker_blocks=2),
        _saved(grey, "JPEG"),
        _saved(rgb.convert("CMYK"), "JPEG"),
        _saved(rgb, "PNG", exif=exif, icc_profile=bytes(500)),
        _saved(sharp, "PNG"),
        _saved(palette, "PNG", transparency=3),
        _saved(grey.convert("1"), "PNG"),
        _saved(wide, "PNG"),
        _saved(rgb, "PNG", save_all=True, append_images=[rgb]),
        _saved(rgb, "WEBP", exif=exif),
        _saved(sharp, "WEBP", lossless=True),
        _saved(sharp, "WEBP"),
        _saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)], duration=10),
        _saved(rgb, "BMP"),
        _saved(palette, "BMP"),
        _saved(sharp, "BMP"),
        runs(8, 6, (b"\3\5\0\3\1\2\3\0\2\7\0\0") * 5 + b"\0\1"),
    ]


def mutated(rng: random.Random, files: list[bytes]) -> bytes:
    """One of the files, changed once to four times."""
    file = rng.choice(files)
    for _ in range(rng.choice((1, 1, 2, 4))):
        file = rng.choice((other_bytes, other_bytes, _parts))(rng, file, files)
    return file


def other_bytes(rng: random.Random, file: bytes, files: list[bytes]) -> bytes:
    """Whatever the format is."""
    if not file:
        return rng.randbytes(rng.randrange(64))
    changed, at = bytearray(file), rng.randrange(len(file))
    size = min(len(file) - at, rng.choice((1, 2, 4, 16, 64, 500)))
    how = rng.randrange(9)
    if how == 0:
        for _ in range(rng.choice((1, 1, 3, 32))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif how == 1:
        changed[at : at + size] = rng.randbytes(size)
    elif how == 2:
        del changed[at:]
    elif how == 3:
        del changed[at : at + size]
    elif how == 4:
        changed[at:at] = changed[at : at + size] * rng.choice((1, 2, 50))
    elif how == 5:
        changed[at : at + size] = bytes([rng.choice((0, 255))]) * size
    elif how == 6:
        form = rng.choice((">I", "<I", ">H", "<H"))
        odd = struct.pack(form, rng.choice(ODD) % (2 ** (8 * struct.calcsize(form))))
        changed[at : at + len(odd)] = odd
    elif how == 7:
        other = rng.choice(files)
        changed[at:] = other[rng.randrange(len(other)) :]
    else:
        changed += rng.randbytes(rng.choice((1, 10, 1000)))
    return bytes(changed)


def _parts(rng: random.Random, file: bytes, files: list[bytes]) -> bytes:
    """The parts of its format: moved, lost, doubled, said to be of other sizes."""
    for magic, change in _FORMATS.items():
        if file.startswith(magic):
            return change(rng, file)
    return other_bytes(rng, file, files)


def _png(rng: random.Random, file: bytes) -> bytes:
    parts, at = [], 8
    while at + 12 <= len(file):
        (length,) = struct.unpack_from(">I", file, at)
        parts.append((file[at + 4 : at + 8], file[at + 8 : at + 8 + length]))
        at += 12 + length
    if not parts:
        return file
    which = rng.randrange(len(parts))
    kind, content = parts[which]
    how = rng.randrange(6)
    if how == 0:  # another size, depth, kind of colour or interlacing, and the checksum right
        header = (
            list(struct.unpack(">IIBBBBB", parts[0][1]))
            if len(parts[0][1]) == 13
            else [1, 1, 8, 2, 0, 0, 0]
        )
        field = rng.randrange(7)
        header[field] = rng.choice(ODD[:16] if field < 2 else range(17)) & (
            2**32 - 1 if field < 2 else 255
        )
        parts[0] = (b"IHDR", struct.pack(">IIBBBBB", *header))
    elif how == 1 and content:  # other content, and the checksum right
        changed = bytearray(content)
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        parts[which] = (kind, bytes(changed))
    elif how == 2:
        del parts[which]
    elif how == 3:
        rng.shuffle(parts)
    elif how == 4:
        odd = rng.choice(_CHUNKS)
        stuff = rng.choice(
            (b"", rng.randbytes(30), b"k\0\0" + zlib.compress(bytes(10_000)), rng.randbytes(769))
        )
        parts.insert(which, (odd, stuff))
    elif kind == b"IDAT":  # other pixels, properly packed
        parts[which] = (kind, zlib.compress(rng.randbytes(rng.choice((0, 10, 3000, 20_000)))))
    said = [chunk(*part) for part in parts]
    if how == 5:
        said[which] = struct.pack(">I", rng.choice(ODD)) + said[which][4:]
    return file[:8] + b"".join(said)


def _jpeg(rng: random.Random, file: bytes) -> bytes:
    parts, at = [], 2
    while at + 4 <= len(file) and file[at] == 0xFF and file[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(file[at + 2 : at + 4], "big")
        parts.append(bytearray(file[at:end]))
        at = end
    rest = file[at:]
    if not parts:
        return file
    which, how = rng.randrange(len(parts)), rng.randrange(6)
    if how == 0:  # another size or other components
        for part in parts:
            if part[1] in (0xC0, 0xC1, 0xC2) and len(part) > 9:
                field = rng.choice((4, 5, 7, 9, 10, 11, 12))
                part[field : field + 2] = struct.pack(">H", rng.choice(ODD) % 65536)
    elif how == 1:
        parts[which][1] = rng.randrange(0xC0, 0x100)
    elif how == 2:
        parts[which][2:4] = struct.pack(">H", rng.choice(ODD) % 65536)
    elif how == 3:
        del parts[which]
    elif how == 4:
        parts.insert(which, bytearray(parts[which]) * rng.choice((1, 2, 40)))
    else:
        body = rng.choice(
            (
                b"Exif\0\0" + rng.randbytes(60),
                b"Exif\0\0II*\0\x08\0\0\0" + rng.randbytes(200),
                b"MPF\0MM",
                b"",
            )
        )
        parts.insert(
            which,
            bytearray(
                struct.pack(">BBH", 0xFF, rng.choice((0xE1, 0xE2, 0xEE, 0xED)), len(body) + 2)
                + body
            ),
        )
    return file[:2] + b"".join(parts) + rest


def _riff(rng: random.Random, file: bytes) -> bytes:
    parts, at = [], 12
    while at + 8 <= len(file):
        (length,) = struct.unpack_from("<I", file, at + 4)
        end = at + 8 + length + length % 2
        parts.append(bytearray(file[at:end]))
        at = end
    if not parts:
        return file
    which, how = rng.randrange(len(parts)), rng.randrange(5)
    part = parts[which]
    if how == 0 and len(part) >= 8:
        part[4:8] = struct.pack("<I", rng.choice(ODD))
    elif how == 1 and len(part) > 8:
        for _ in range(3):
            part[rng.randrange(8, min(len(part), 40))] = rng.randrange(256)
    elif how == 2:
        del parts[which]
    elif how == 3:
        parts.insert(which, part * rng.choice((1, 2, 20)))
    else:
        rng.shuffle(parts)
    body = b"".join(parts)
    size = rng.choice((len(body) + 4, len(body) + 4, rng.choice(ODD)))
    return b"RIFF" + struct.pack("<I", size) + file[8:12] + body


def _bmp(rng: random.Random, file: bytes) -> bytes:
    changed = bytearray(file)
    field = rng.choice((2, 10, 14, 18, 22, 26, 28, 30, 34, 46, 50))
    form = "<H" if field in (26, 28) else "<I"
    changed[field : field + struct.calcsize(form)] = struct.pack(
        form, rng.choice(ODD) % (65536 if form == "<H" else 2**32)
    )
    return bytes(changed)


_FORMATS: dict[bytes, Callable[[random.Random, bytes], bytes]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8": _jpeg,
    b"RIFF": _riff,
    b"BM": _bmp,
}


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
