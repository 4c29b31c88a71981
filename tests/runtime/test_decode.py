"""Every kind of file comes out as a viewer would show it."""

import io

import numpy as np
import pytest
from PIL import Image

from boxwise_contract.limits import ImageLimits
from boxwise_contract.refusals import InvalidInput
from boxwise_runtime.decode import EncodedImage, decode

LIMIT = ImageLimits(max_pixels=25_000_000)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options: object) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


def corners() -> Image.Image:
    """64 x 32: red, green over blue, white, so that every turn and flip shows."""
    image = Image.new("RGB", (64, 32), WHITE)
    image.paste(RED, (0, 0, 32, 16))
    image.paste(GREEN, (32, 0, 64, 16))
    image.paste(BLUE, (0, 16, 32, 32))
    return image


def quarters(frame: np.ndarray) -> list[tuple[int, ...]]:
    """The colour in the middle of each quarter: top left, top right, bottom left, bottom right."""
    height, width = frame.shape[:2]
    return [tuple(frame[height * y // 4, width * x // 4].tolist()) for y in (1, 3) for x in (1, 3)]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_files_come_out_as_they_went_in(kind: str) -> None:
    image = corners()
    options = {"lossless": True} if kind == "WEBP" else {}
    frame = decode(encoded(image, kind, **options), LIMIT)
    assert frame.dtype == np.uint8
    assert np.array_equal(frame, np.asarray(image))


@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 95, "progressive": True}])
def test_jpeg(options: dict[str, object]) -> None:
    frame = decode(encoded(corners(), "JPEG", subsampling=0, **options), LIMIT)
    np.testing.assert_allclose(quarters(frame), [RED, GREEN, BLUE, WHITE], atol=6)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_at_a_fraction_of_its_size_is_the_same_image(scale: int, orientation: int) -> None:
    """Sides that 8 does not divide, every EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(corners().resize((642, 323)), "JPEG", quality=95, subsampling=0, exif=exif)
    image = EncodedImage(file, LIMIT)
    whole, part = decode(file, LIMIT), image.pixels(scale)
    assert image.scalable
    assert image.size == whole.shape[:2]
    assert part.shape[:2] == tuple(-(-side // scale) for side in whole.shape[:2])
    np.testing.assert_allclose(quarters(part), quarters(whole), atol=6)


def test_what_is_no_jpeg_is_not_scalable() -> None:
    for kind in ("PNG", "WEBP", "BMP"):
        assert not EncodedImage(encoded(corners(), kind), LIMIT).scalable
    assert not EncodedImage(encoded(corners().convert("CMYK"), "JPEG"), LIMIT).scalable
    assert EncodedImage(encoded(corners().convert("L"), "JPEG"), LIMIT).pixels(2).shape == (
        16,
        32,
        3,
    )


def test_odd_metadata_is_no_reason_to_refuse_a_jpeg() -> None:
    file = encoded(corners(), "JPEG", exif=b"Exif\0\0II*\0nonsense")
    assert EncodedImage(file, LIMIT).size == (32, 64)
    assert EncodedImage(file, LIMIT).pixels(2).shape == (16, 32, 3)


def test_jpeg_is_the_same_as_pillow_reads_it() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    file = encoded(
        Image.fromarray(noise).resize((240, 160), Image.Resampling.BICUBIC), "JPEG", quality=90
    )
    with Image.open(io.BytesIO(file.tobytes())) as image:
        expected = np.asarray(image.convert("RGB")).astype(int)
    # Two builds of libjpeg-turbo; the colour conversion may round one level apart.
    assert np.abs(decode(file, LIMIT) - expected).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    # What is stored is the image turned the other way, so that every viewer shows the corners
    # upright.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = (
        corners() if orientation == 1 else corners().transpose(Image.Transpose(undo[orientation]))
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}, "PNG": {}}[
        kind
    ]
    frame = decode(encoded(stored, kind, exif=exif, **options), LIMIT)
    assert frame.shape == (32, 64, 3)
    np.testing.assert_allclose(quarters(frame), [RED, GREEN, BLUE, WHITE], atol=6)


def test_grey_and_palette_and_one_bit() -> None:
    grey = Image.new("L", (4, 2), 77)
    assert decode(encoded(grey, "PNG"), LIMIT).tolist() == [[[77] * 3] * 4] * 2
    np.testing.assert_allclose(decode(encoded(grey, "JPEG"), LIMIT), 77, atol=2)
    assert quarters(decode(encoded(corners().quantize(4), "PNG"), LIMIT)) == [
        RED,
        GREEN,
        BLUE,
        WHITE,
    ]
    assert (
        decode(encoded(Image.new("1", (3, 3), 1), "PNG"), LIMIT).tolist() == [[[255] * 3] * 3] * 3
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0)).convert(mode)
    assert (decode(encoded(clear, "PNG"), LIMIT) == 255).all()


def test_a_transparent_palette_colour_is_white() -> None:
    image = corners().quantize(4)
    red = image.getpixel((0, 0))
    assert quarters(decode(encoded(image, "PNG", transparency=red), LIMIT)) == [
        WHITE,
        GREEN,
        BLUE,
        WHITE,
    ]


def test_half_transparent_is_half_white() -> None:
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    np.testing.assert_allclose(decode(encoded(half, "WEBP", lossless=True), LIMIT), 127, atol=1)


def test_16_bit_grey_keeps_its_high_byte() -> None:
    values = np.array([[0, 256, 0x8000, 0xFFFF]], np.uint16)
    frame = decode(encoded(Image.fromarray(values), "PNG"), LIMIT)
    assert frame.tolist() == [[[0] * 3, [1] * 3, [128] * 3, [255] * 3]]


def test_cmyk() -> None:
    frame = decode(encoded(corners().convert("CMYK"), "JPEG", quality=95, subsampling=0), LIMIT)
    np.testing.assert_allclose(quarters(frame), [RED, GREEN, BLUE, WHITE], atol=8)


def test_one_pixel() -> None:
    assert decode(encoded(Image.new("RGB", (1, 1), RED), "PNG"), LIMIT).tolist() == [[list(RED)]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "image: empty; expected the bytes of a JPEG"),
        (
            b"hello world",
            r"image: not a JPEG, PNG, WebP or BMP file \(11 bytes, starting with 68 65 6c 6c 6f",
        ),
        (b"\xff\xd8", "image: not a JPEG"),
        (b"GIF89a" + bytes(40), "image: not a JPEG"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode(np.frombuffer(data, np.uint8), LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_truncated_files_are_refused(kind: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = encoded(Image.fromarray(noise), kind)
    with pytest.raises(InvalidInput, match="image: "):
        decode(file[: int(file.size * kept)], LIMIT)


def test_the_pixel_limit_is_checked_from_the_header() -> None:
    # A PNG header of 50000 x 50000 with no pixels behind it: only the header can have been read.
    header = encoded(Image.new("L", (1, 1)), "PNG").copy()
    header[16:24] = np.frombuffer((50_000).to_bytes(4, "big") * 2, np.uint8)
    header[29:33] = np.frombuffer(
        __import__("zlib").crc32(header[12:29].tobytes()).to_bytes(4, "big"), np.uint8
    )
    message = r"image: 50000 x 50000 is 2500\.0 megapixels; at most 25 are accepted"
    with pytest.raises(InvalidInput, match=message):
        decode(header[:64], LIMIT)


def test_a_file_over_the_limit_is_refused_unread() -> None:
    limits = ImageLimits(max_pixels=25_000_000, max_bytes=1000)
    file = encoded(Image.new("RGB", (3, 3), RED), "BMP")
    assert decode(np.append(file, np.zeros(1000 - file.size, np.uint8)), limits).shape == (3, 3, 3)
    with pytest.raises(
        InvalidInput, match=r"image: a file of 0\.0 MB; at most 0\.001 are accepted"
    ) as refused:
        decode(np.zeros(1001, np.uint8), limits)
    assert refused.value.reason == "size"
