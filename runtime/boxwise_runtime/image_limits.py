"""Count the parts of a file before a decoder reads them.

Decoders limit the pixels of an image and nothing else. Each of these kept a core busy for seconds,
with files of 10 KB to 1 MB:

    JPEG  scans, each over all coefficients: 10,000 empty ones of 25 megapixels, 100 KB, took 12 s
          segments of EXIF, joined one by one: 77,000 took 4.7 s, twice as many four times as long
    PNG   texts and profiles, inflated to 1 MB each and never used: 1,000 profiles took 2 s
          chunks, each an iteration of a Python loop
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from boxwise_contract.refusals import InvalidInput

# Far more than real images have: 10 scans if progressive, some 20 segments, a chunk for each 8 KB.
MOST_SCANS = 100
MOST_SEGMENTS = 1000
MOST_EXIF_SEGMENTS = 16
_FILL_A_SEGMENT = 64  # bytes
MOST_CHUNKS, BYTES_A_CHUNK = 1000, 1024

_PNG = b"\x89PNG\r\n\x1a\n"
_UNREAD = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1
_NEXT = re.compile(rb"\xff[^\x00\xff]")  # a marker: FF 00 is a byte of a scan, FF FF fills
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)  # SOF2, SOF6, SOF10, SOF14
# SOF0 to SOF15.
_FRAMES = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))
_BARE = (0x01, *range(0xD0, 0xD9))  # markers without a length: TEM, RST0 to RST7, SOI
_BARE_TO_PILLOW = (*_BARE, _EOI, 0xC8, *range(0xF0, 0xFE))


def skim(encoded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a file for the decoder: a PNG without its texts and colour profile, others unchanged.

    Args:
        encoded: uint8 [bytes], of any kind.

    Raises:
        InvalidInput: it has more parts than any real image.
    """
    if encoded[:8].tobytes() == _PNG:
        return _skim_png(encoded)
    if encoded[:2].tobytes() == b"\xff\xd8":
        _skim_jpeg(encoded.data.cast("B"))
    return encoded


def _skim_png(encoded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = encoded.data.cast("B")
    most = MOST_CHUNKS + len(file) // BYTES_A_CHUNK
    kept, begin, at = [], 0, len(_PNG)  # begin: of what is not yet in `kept`
    for _ in range(most + 1):
        if at + 8 > len(file):
            break
        length, kind = struct.unpack_from(">I4s", file, at)
        end = at + 12 + length
        if kind in _UNREAD:
            kept.append(file[begin:at])
            begin = end
        at = end if kind != b"IEND" else len(file)  # decoders stop here
    else:
        raise InvalidInput(
            f"image: the PNG file of {len(file)} bytes has more than {most} chunks", "corrupt"
        )
    if not kept:
        return encoded
    return np.frombuffer(b"".join([*kept, file[begin:]]), np.uint8)


def _skim_jpeg(file: memoryview) -> None:
    exif = components = 0
    for segments, (at, marker) in enumerate(_segments(file), 1):
        if marker in _FRAMES:
            components = 0 if marker in _PROGRESSIVE else file[at + 9] if at + 9 < len(file) else 0
        elif marker == _SOS and at + 4 < len(file) and file[at + 4] == components:
            return  # one scan holds all components: a decoder stops there
        exif += marker == _APP1 and file[at + 4 : at + 10].tobytes() == b"Exif\0\0"
        if segments > MOST_SEGMENTS or exif > MOST_EXIF_SEGMENTS:
            what = (
                f"{MOST_SEGMENTS} segments"
                if segments > MOST_SEGMENTS
                else f"{MOST_EXIF_SEGMENTS} segments of EXIF"
            )
            raise InvalidInput(
                f"image: the JPEG file has more than {what} before its first scan", "corrupt"
            )
    # The two bytes also occur by chance, in a thumbnail, a profile or a video behind the image, so
    # only then the scans themselves are counted.
    if bytes(file).count(b"\xff\xda") > MOST_SCANS and _scans(file) > MOST_SCANS:
        raise InvalidInput(f"image: the JPEG file has more than {MOST_SCANS} scans", "corrupt")


def _segments(file: memoryview) -> Iterator[tuple[int, int]]:
    """Yield start and marker of each segment up to the first scan, as Pillow reads them.

    Pillow skips bytes between segments one by one; 64 of them count as a segment.
    """
    at = 2
    while at < len(file):
        found = _NEXT.search(file, at, at + MOST_SEGMENTS * _FILL_A_SEGMENT)
        end = found.start() if found else min(len(file), at + MOST_SEGMENTS * _FILL_A_SEGMENT)
        yield from ((fill, 0) for fill in range(at, end, _FILL_A_SEGMENT))
        at = end
        if found:
            marker = file[at + 1]
            yield at, marker
            if marker == _SOS:
                return
            at += 2 if marker in _BARE_TO_PILLOW else _length(file, at)


def _scans(file: memoryview) -> int:
    """Count the scans of the file's first image, as libjpeg reads them."""
    count, at = 0, 2
    while (found := _NEXT.search(file, at)) and count <= MOST_SCANS:
        at, marker = found.start(), file[found.start() + 1]
        if marker == _EOI:
            break
        count += marker == _SOS
        at += 2 if marker in _BARE else _length(file, at)
    return count


def _length(file: memoryview, at: int) -> int:
    """Return the length of the segment at this place, marker included."""
    return 2 + max(2, int.from_bytes(file[at + 2 : at + 4], "big"))
