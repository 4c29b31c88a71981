"""What predict accepts as an image, and what it is sent as."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxwise import InvalidImage, InvalidInput
from boxwise._image import to_pil, to_tensor

ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(frame: object) -> np.ndarray:
    tensor = to_tensor(frame)  # type: ignore[arg-type]
    assert (tensor.name, tensor.datatype) == ("frame", "UINT8")
    return np.frombuffer(tensor.payload, np.uint8).reshape(tensor.shape)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        bytearray(b"abc"),
        memoryview(b"abc"),
        memoryview(b"a.b.c.")[::2],
        memoryview(b""),
    ],
)
def test_bytes_are_sent_as_they_are(content: bytes | bytearray | memoryview) -> None:
    name, datatype, shape, payload = to_tensor(content)
    assert (name, datatype, shape) == ("image", "UINT8", (len(content),))
    assert bytes(payload) == bytes(content)


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "not really an image.jpg"
    path.write_bytes(b"\xff\xd8 whatever")
    assert to_tensor(path) == to_tensor(str(path)) == to_tensor(b"\xff\xd8 whatever")


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"cannot read .*missing\.jpg: No such file or directory"
    ):
        to_tensor(tmp_path / "missing.jpg")
    with pytest.raises(InvalidInput, match=r"cannot read .*: Is a directory"):
        to_tensor(tmp_path)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 5, 3), (0, 4, 3)])
def test_an_rgb_array_is_sent_without_a_copy(shape: tuple[int, int, int]) -> None:
    frame = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(pixels(frame), frame)
    if frame.size:
        assert np.shares_memory(np.frombuffer(to_tensor(frame).payload, np.uint8), frame)


def test_a_view_is_sent_in_its_own_order() -> None:
    bgr = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(pixels(bgr[..., ::-1]), bgr[..., ::-1])


def test_a_grey_array_is_sent_as_rgb() -> None:
    np.testing.assert_array_equal(pixels(np.array([[1, 2]], np.uint8)), [[[1, 1, 1], [2, 2, 2]]])


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((2, 2, 3), np.float32), r"got float32 \[2, 2, 3\]: scale it to 0..255"),
        (np.zeros((2, 2, 4), np.uint8), r"got uint8 \[2, 2, 4\]: drop the alpha channel"),
        (np.zeros((3, 2, 2), np.uint8), r"got uint8 \[3, 2, 2\]: .* channels last"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"got uint8 \[1, 2, 2, 3\]: send one image at a time"),
        (np.zeros(5, np.uint8), r"got uint8 \[5\]"),
    ],
)
def test_another_array_is_refused_with_its_mend(array: np.ndarray, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        to_tensor(array)


def test_another_type_is_named() -> None:
    with pytest.raises(InvalidInput, match="got list"):
        to_tensor([1, 2, 3])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "rgb"),
    [
        (Image.new("RGB", (1, 1), (1, 2, 3)), (1, 2, 3)),
        (Image.new("L", (1, 1), 7), (7, 7, 7)),
        (Image.new("1", (1, 1), 1), (255, 255, 255)),
        (Image.new("P", (1, 1), (9, 8, 7)), (9, 8, 7)),
        (Image.new("RGBA", (1, 1), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (1, 1), (200, 0, 0, 255)), (200, 0, 0)),
        (Image.new("LA", (1, 1), (10, 0)), (255, 255, 255)),
        (Image.new("CMYK", (1, 1), (0, 0, 0, 255)), (0, 0, 0)),
        (Image.fromarray(np.array([[0x1234]], np.uint16)), (0x12, 0x12, 0x12)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_a_pil_image_is_sent_as_a_viewer_shows_it(
    image: Image.Image, rgb: tuple[int, int, int]
) -> None:
    assert pixels(image).tolist() == [[list(rgb)]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_what_is_sent_and_drawn_on(orientation: int) -> None:
    upright = Image.new("RGB", (3, 2), "black")
    upright.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(upright, exif=exif)
    # where the standard puts the stored top left pixel
    corner = {
        1: (0, 0),
        2: (-1, 0),
        3: (-1, -1),
        4: (0, -1),
        5: (0, 0),
        6: (-1, 0),
        7: (-1, -1),
        8: (0, -1),
    }
    width, height = (2, 3) if orientation > 4 else (3, 2)
    x, y = corner[orientation]
    for shown in (np.asarray(to_pil(to_tensor(content))), pixels(Image.open(io.BytesIO(content)))):
        assert shown.shape == (height, width, 3)
        assert shown[y, x].tolist() == [255, 0, 0]


def test_a_frame_becomes_the_same_image() -> None:
    frame = np.arange(30, dtype=np.uint8).reshape(2, 5, 3)
    np.testing.assert_array_equal(np.asarray(to_pil(to_tensor(frame))), frame)


@pytest.mark.parametrize(
    "content", [b"", b"no image", encoded(Image.new("RGB", (64, 64)), "JPEG")[:300]]
)
def test_bytes_that_are_no_image_can_not_be_drawn_on(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be decoded here"):
        to_pil(to_tensor(content))


# 64 x 48: red, green over blue, white; by pillow-heif, quality 90.
CORNERS = Path(__file__).with_name("corners.heic")


def corners() -> Image.Image:
    image = Image.new("RGB", (64, 48), "white")
    image.paste((255, 0, 0), (0, 0, 32, 24))
    image.paste((0, 255, 0), (32, 0, 64, 24))
    image.paste((0, 0, 255), (0, 24, 32, 48))
    return image


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "JPEG2000", "PPM", "TGA", "ICO", "AVIF", "HEIC"])
@pytest.mark.parametrize("encode", [False, True])
def test_what_the_server_does_not_decode_is_decoded_here(
    tmp_path: Path, kind: str, encode: bool
) -> None:
    sized = {"sizes": [(64, 48)]} if kind == "ICO" else {}
    content = CORNERS.read_bytes() if kind == "HEIC" else encoded(corners(), kind, **sized)
    path = tmp_path / f"corners.{kind.lower()}"
    path.write_bytes(content)
    atol = 6 if kind in ("AVIF", "HEIC") else 0
    for given in (
        path,
        str(path),
        content,
        bytearray(content),
        memoryview(content),
        io.BytesIO(content),
    ):
        tensor = to_tensor(given, encode=encode)
        assert tensor.name == ("image" if encode else "frame")
        if encode:
            assert bytes(tensor.payload[:4]) == b"\x89PNG"
        shown = np.asarray(to_pil(tensor)).astype(int)
        np.testing.assert_allclose(shown[4::8, 4::8], np.asarray(corners())[4::8, 4::8], atol=atol)


def test_of_an_animation_the_first_frame_is_sent() -> None:
    frames = [corners(), Image.new("RGB", (64, 48), "black")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels(content), np.asarray(corners()))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_tiff_of_more_bits_is_read_as_a_pil_image_is(dtype: type) -> None:
    values = np.array([[0, 0x8000, 0xFFFF]], dtype)
    assert pixels(encoded(Image.fromarray(values), "TIFF")).tolist() == [
        [[0] * 3, [128] * 3, [255] * 3]
    ]


def test_jpeg_png_webp_and_bmp_travel_as_they_are() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        content = encoded(corners(), kind)
        assert bytes(to_tensor(content, encode=True).payload) == content


def test_postscript_is_not_given_to_ghostscript() -> None:
    content = encoded(corners(), "EPS")
    assert bytes(to_tensor(content).payload) == content


def test_heic_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxwise._image._formats", lambda: ("JPEG", "PNG"))
    with pytest.raises(
        InvalidInput, match=r'image: HEIC; to decode it, pip install "boxwise\[heic\]"'
    ):
        to_tensor(CORNERS.read_bytes())


@pytest.mark.parametrize(
    "kind", ["TIFF", "GIF", "JPEG2000", "PPM", "TGA", "AVIF", "HEIC", "JPEG", "PNG", "WEBP", "BMP"]
)
def test_a_truncated_file_is_an_invalid_image_on_every_path(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))
    whole = CORNERS.read_bytes() if kind == "HEIC" else encoded(noise, kind)
    part = whole[: len(whole) * 3 // 4]
    if kind not in ("JPEG", "PNG", "WEBP", "BMP"):  # which the server decodes
        with pytest.raises(InvalidImage, match="truncated or corrupt"):
            to_tensor(part)
    else:
        with pytest.raises(InvalidImage):
            to_pil(to_tensor(part))
    if kind not in ("AVIF", "WEBP", "HEIC"):  # which Pillow does not open at all
        with pytest.raises(InvalidImage, match=f"the {kind} file is truncated or corrupt"):
            to_tensor(Image.open(io.BytesIO(part)))


GREY = np.array([[0, 100, 255]], np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREY.astype(np.int32)),
        Image.fromarray(GREY.astype(np.int32) * 257),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        Image.fromarray(GREY.astype(np.float32)),
        Image.fromarray(GREY.astype(np.float32) * 257),
        Image.fromarray(GREY.astype(np.float32) / 255),
        Image.fromarray(GREY).convert("I"),
        Image.fromarray(GREY).convert("F"),
    ],
    ids=["I 255", "I 65535", "I;16", "F 255", "F 65535", "F 1", "L to I", "L to F"],
)
def test_grey_of_many_bits_is_what_it_is_in_8(image: Image.Image) -> None:
    np.testing.assert_array_equal(pixels(image)[..., 0], GREY)


@pytest.mark.parametrize("white", ["uint8", "int32", "uint16", "float32"])
def test_black_is_black(white: str) -> None:
    assert not pixels(Image.fromarray(np.zeros((2, 3), white))).any()


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        (np.array([[0, 200]], np.uint16), "I;16"),
        (np.array([[0, 4095]], np.uint16), "I;16"),
        (np.array([[0, 1]], np.int32), "I"),
        (np.array([[0, 4000]], np.int32), "I"),
        (np.array([[0, 70_000]], np.int32), "I"),
        (np.array([[-1, 200]], np.int32), "I"),
        (np.array([[0, 0.01]], np.float32), "F"),
        (np.array([[0, 8]], np.float32), "F"),
        (np.array([[-1, 1]], np.float32), "F"),
        (np.array([[np.nan, 1]], np.float32), "F"),
        (np.array([[0, np.inf]], np.float32), "F"),
        (np.array([[0, 1e9]], np.float32), "F"),
    ],
)
def test_grey_that_may_be_read_in_two_ways_is_refused(values: np.ndarray, mode: str) -> None:
    with pytest.raises(
        InvalidImage, match=rf"image: mode {mode} with values from .*send uint8"
    ) as refused:
        to_tensor(Image.fromarray(values))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("mode", ["L", "I", "F"])
def test_the_photo_of_the_cases_is_the_same_in_every_mode(shared_cases: Path, mode: str) -> None:
    grey = Image.open(shared_cases / "images" / "photo.jpg").convert("L")
    np.testing.assert_array_equal(
        pixels(grey.convert(mode)), np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (base64.b64encode(encoded(corners(), "JPEG")).decode(), "base64 text"),
        (base64.b64encode(encoded(corners(), "PNG")).decode(), "base64 text"),
        (base64.encodebytes(encoded(corners(), "BMP")).decode(), "base64 text"),
        (
            "data:image/png;base64," + base64.b64encode(encoded(corners(), "PNG")).decode(),
            "a data URL",
        ),
        ("https://example.org/" + "a" * 5000, "a URL"),
    ],
    ids=["JPEG", "PNG", "BMP", "data URL", "URL"],
)
def test_a_str_that_is_no_path_is_named_and_not_quoted(text: str, what: str) -> None:
    with pytest.raises(
        InvalidImage,
        match=f"a str is the path of a file, and this one of {len(text)} characters is",
    ) as e:
        to_tensor(text)
    assert what in str(e.value)
    assert len(str(e.value)) < 300


@pytest.mark.parametrize(
    "name", ["/" + "folder/" * 400, "a\0b", "x" * 300, "/mnt/data/" + "deep/" * 30 + "image"]
)
def test_a_path_that_can_not_be_read_is_quoted_in_part(name: str) -> None:
    with pytest.raises(InvalidImage, match="image: cannot read") as refused:
        to_tensor(name)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["base64.txt", "data_url.txt"])
def test_the_text_of_the_cases(shared_cases: Path, name: str) -> None:
    with pytest.raises(InvalidImage, match="base64") as refused:
        to_tensor((shared_cases / "images" / name).read_text())
    assert len(str(refused.value)) < 300
