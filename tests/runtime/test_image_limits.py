"""What a few bytes can make a decoder do is bounded, and images with odd parts are seen all the
same.
"""

import io

import numpy as np
import pytest
from contract_support import bombs
from contract_support.bombs import chunk, jpeg, png, saved, scans, segment
from PIL import Image

from boxwise_contract.limits import ImageLimits
from boxwise_contract.refusals import InvalidInput
from boxwise_runtime import image_limits
from boxwise_runtime.decode import decode
from boxwise_runtime.image_limits import skim

LIMIT = ImageLimits(max_pixels=25_000_000)
NOISE = np.random.default_rng(7).integers(0, 256, 3_000_000).astype(np.uint8).tobytes()


def pixels(file: bytes) -> np.ndarray:
    return decode(np.frombuffer(file, np.uint8), LIMIT)


@pytest.mark.parametrize("what", bombs.of_too_many_parts())
def test_too_many_parts_are_refused(what: str) -> None:
    with pytest.raises(InvalidInput, match=r"^image: the (JPEG|PNG|BMP) file"):
        pixels(bombs.of_too_many_parts()[what])


@pytest.mark.parametrize("what", bombs.of_much_to_inflate())
def test_what_nobody_reads_is_not_inflated(what: str) -> None:
    assert pixels(bombs.of_much_to_inflate()[what]).shape[2] == 3


@pytest.mark.parametrize(
    "file",
    [
        jpeg(segment(0xFE, b"said") * 900),
        jpeg(segment(0xE1, b"Exif\0\0" + b"II*\0") * 16),
        jpeg(b"\xff" * 1000),
        jpeg(segment(0xE2, b"\xff\xda" * 30_000)),
        jpeg(segment(0xE2, b"\xff\xda" * 30_000), progressive=True),
        jpeg(after=b"\xff\xda" * 30_000, progressive=True),
        jpeg(after=NOISE, progressive=True),
    ],
    ids=[
        "comments",
        "EXIF",
        "fill bytes",
        "a profile",
        "a profile, progressive",
        "what follows",
        "a video behind it",
    ],
)
def test_a_jpeg_with_odd_parts_is_seen(file: bytes) -> None:
    assert np.array_equal(pixels(file), pixels(saved("JPEG", progressive=b"\xff\xc2" in file)))


def test_a_jpeg_may_have_so_many_scans() -> None:
    assert pixels(scans(64, 64, image_limits.MOST_SCANS)).shape == (64, 64, 3)
    with pytest.raises(InvalidInput, match="more than 100 scans"):
        pixels(scans(64, 64, image_limits.MOST_SCANS + 1))


def test_scans_between_restarts_and_fills_are_counted() -> None:
    file = scans(64, 64, 150)
    for odd in (b"\xff", b"\xff\xd0", b"\xff\x01", segment(0xFE, b"\xff\xd9")):
        with pytest.raises(InvalidInput, match="more than 100 scans"):
            pixels(file.replace(b"\xff\xda", odd + b"\xff\xda"))


def test_a_large_text_or_profile_is_no_reason_to_refuse_a_png() -> None:
    plain = saved("PNG")
    much = b"".join(chunk(kind, b"k\0" + NOISE) for kind in (b"tEXt", b"iTXt", b"zTXt", b"iCCP"))
    for file in (plain[:33] + much + plain[33:], plain[:-12] + much + plain[-12:]):
        assert np.array_equal(pixels(file), pixels(plain))


def test_a_png_keeps_what_shows() -> None:
    image = Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 255, 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "PNG", transparency=0, exif=exif, icc_profile=b"profile")
    assert b"iCCP" in file.getvalue()
    # See-through on white, and turned.
    assert pixels(file.getvalue()).tolist() == [[[255] * 3] * 2] * 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_file_that_ends_anywhere_is_skimmed(kind: str) -> None:
    for file in (saved(kind), png(before=chunk(b"zTXt", b"k\0\0")), jpeg(progressive=True)):
        for end in range(min(len(file), 800)):
            skim(np.frombuffer(file[:end], np.uint8))


def test_what_needs_no_change_is_not_copied() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        file = np.frombuffer(saved(kind), np.uint8)
        assert skim(file) is file


def test_what_follows_the_end_of_a_png_is_not_read() -> None:
    file = saved("PNG")
    np.testing.assert_array_equal(pixels(file + bytes(100_000)), pixels(file))


def test_a_chunk_for_each_8_kb_is_not_too_many() -> None:
    pieces = [chunk(b"IDAT", bytes(8192)) for _ in range(3000)]
    skim(np.frombuffer(bombs.PNG + b"".join(pieces), np.uint8))
    assert png() == skim(np.frombuffer(png(), np.uint8)).tobytes()
