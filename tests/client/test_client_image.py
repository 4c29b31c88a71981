"""What predict accepts as a picture, and what it is sent as."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxwise import InvalidInput
from boxwise._image import to_pil, to_tensor

ORIENTATION = 0x0112


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pixels(frame: object) -> np.ndarray:
    tensor = to_tensor(frame)  # type: ignore[arg-type]
    assert (tensor.name, tensor.datatype) == ("frame", "UINT8")
    return np.frombuffer(tensor.payload, np.uint8).reshape(tensor.shape)


@pytest.mark.parametrize(
    "content", [b"", b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"a.b.c.")[::2], memoryview(b"")]
)
def test_bytes_are_sent_as_they_are(content: bytes | bytearray | memoryview) -> None:
    name, datatype, shape, payload = to_tensor(content)
    assert (name, datatype, shape) == ("image", "UINT8", (len(content),))
    assert bytes(payload) == bytes(content)


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "not really a picture.jpg"
    path.write_bytes(b"\xff\xd8 whatever")
    assert to_tensor(path) == to_tensor(str(path)) == to_tensor(b"\xff\xd8 whatever")


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read .*missing\.jpg: No such file or directory"):
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
        (np.zeros((1, 2, 2, 3), np.uint8), r"got uint8 \[1, 2, 2, 3\]: send one picture at a time"),
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
    ("picture", "rgb"),
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
def test_a_pil_image_is_sent_as_a_viewer_shows_it(picture: Image.Image, rgb: tuple[int, int, int]) -> None:
    assert pixels(picture).tolist() == [[list(rgb)]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_what_is_sent_and_drawn_on(orientation: int) -> None:
    upright = Image.new("RGB", (3, 2), "black")
    upright.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(upright, exif=exif)
    # where the standard puts the stored top left pixel
    corner = {1: (0, 0), 2: (-1, 0), 3: (-1, -1), 4: (0, -1), 5: (0, 0), 6: (-1, 0), 7: (-1, -1), 8: (0, -1)}
    width, height = (2, 3) if orientation > 4 else (3, 2)
    x, y = corner[orientation]
    for shown in (np.asarray(to_pil(to_tensor(content))), pixels(Image.open(io.BytesIO(content)))):
        assert shown.shape == (height, width, 3)
        assert shown[y, x].tolist() == [255, 0, 0]


def test_a_frame_becomes_the_same_picture() -> None:
    frame = np.arange(30, dtype=np.uint8).reshape(2, 5, 3)
    np.testing.assert_array_equal(np.asarray(to_pil(to_tensor(frame))), frame)


@pytest.mark.parametrize("content", [b"", b"no picture", encoded(Image.new("RGB", (64, 64)), "JPEG")[:300]])
def test_bytes_that_are_no_picture_can_not_be_drawn_on(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a picture that can be drawn on"):
        to_pil(to_tensor(content))
