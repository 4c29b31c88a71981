"""Boxes are cut out, padded, and brought to a classifier's size."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_runtime.crop import CropSpec, crop, region

COORDINATE = st.floats(-50, 250, allow_nan=False, width=32)


@pytest.mark.parametrize(
    ("box", "padding", "expected"),
    [
        ((0, 0, 0, 0), 0, (0, 0, 1, 1)),  # never empty
        ((100, 50, 100, 50), 0, (99, 49, 100, 50)),  # not even in the far corner
        ((10, 10, 20, 20), 0, (10, 10, 20, 20)),
        ((10.2, 10.9, 20.1, 20.0), 0, (10, 10, 21, 20)),
        ((10, 10, 20, 30), 0.1, (9, 8, 21, 32)),
        ((-5, -5, 300, 300), 0.5, (0, 0, 100, 50)),
    ],
)
def test_region(box: tuple[float, ...], padding: float, expected: tuple[int, ...]) -> None:
    assert region(box, height=50, width=100, padding=padding) == expected


@given(COORDINATE, COORDINATE, COORDINATE, COORDINATE, st.sampled_from([0.0, 0.1, 2.0]))
def test_a_region_is_never_empty_and_never_outside(
    x: float, y: float, w: float, h: float, padding: float
) -> None:
    left, top, right, bottom = region(
        (x, y, x + abs(w), y + abs(h)), height=80, width=120, padding=padding
    )
    assert 0 <= left < right <= 120
    assert 0 <= top < bottom <= 80


def test_no_boxes() -> None:
    assert crop(
        np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4), np.float32), CropSpec(8, 6)
    ).shape == (0, 8, 6, 3)


def test_a_box_is_cut_where_it_is() -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[10:20, 30:50] = [255, 128, 0]
    (cut,) = crop(frame, np.float32([[30, 10, 50, 20]]), CropSpec(10, 20))
    assert (cut == [255, 128, 0]).all()
    (swapped,) = crop(frame, np.float32([[30, 10, 50, 20]]), CropSpec(10, 20, color_order="bgr"))
    assert (swapped == [0, 128, 255]).all()


def test_keep_aspect_letterboxes() -> None:
    frame = np.full((10, 20, 3), 200, np.uint8)
    (cut,) = crop(
        frame, np.float32([[0, 0, 20, 10]]), CropSpec(20, 20, keep_aspect=True, pad_value=9)
    )
    assert (cut[:5] == 9).all()
    assert (cut[5:15] == 200).all()
    assert (cut[15:] == 9).all()


def test_resize_shorter_cuts_the_centre_as_torchvision_does() -> None:
    # 64 x 32, resized to 40 x 20, of which columns 12 to 28 and rows 2 to 18 are the centre.
    frame = np.repeat(np.arange(64, dtype=np.uint8)[np.newaxis, :, np.newaxis], 32, axis=0).repeat(
        3, axis=2
    )
    (cut,) = crop(frame, np.float32([[0, 0, 64, 32]]), CropSpec(16, 16, resize_shorter=20))
    expected = (np.arange(12, 28) + 0.5) * 64 / 40 - 0.5
    np.testing.assert_allclose(cut[0, :, 0], expected, atol=0.51)


def test_resize_stretches_and_cuts_the_centre() -> None:
    """256 x 256 without the aspect, then the centre of 224, as Keras and many torchvision recipes
    have it.
    """
    frame = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    box = np.float32([[100, 50, 400, 250]])
    spec = CropSpec(224, 224, resize_height=256, resize_width=256, interpolation="area")
    right = cv2.resize(frame[50:250, 100:400], (256, 256), interpolation=cv2.INTER_AREA)[
        16:240, 16:240
    ]
    np.testing.assert_array_equal(crop(frame, box, spec)[0], right)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
def test_extreme_images_have_a_centre(size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), 50, np.uint8)
    box = np.float32([[0, 0, size[1], size[0]]])
    (cut,) = crop(frame, box, CropSpec(224, 224, resize_shorter=256))
    assert cut.shape == (224, 224, 3)
    assert (cut == 50).all()
