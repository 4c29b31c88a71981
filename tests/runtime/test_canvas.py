"""Images go onto a canvas and their boxes come back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_runtime.canvas import Geometry, Resize, decoded_scale, draw, fit, to_image

SIDE = st.integers(1, 5000)
HOW = st.sampled_from(["letterbox", "letterbox_top_left", "stretch"])


def drawn(
    frame: np.ndarray, geometry: Geometry, height: int, width: int, **options: object
) -> np.ndarray:
    settings = {"pad_value": 114, "interpolation": "linear", "color_order": "rgb"} | options
    canvas = np.full((height, width, 3), 222, np.uint8)
    draw(frame, geometry, canvas, **settings)  # type: ignore[arg-type]
    return canvas


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((1, 1), "letterbox", (1, 1, 512, 512, 0, 0)),
        ((512, 512), "letterbox", (512, 512, 1, 1, 0, 0)),
        ((256, 512), "letterbox", (256, 512, 1, 1, 0, 128)),
        ((512, 255), "letterbox", (512, 255, 1, 1, 128, 0)),
        ((512, 255), "letterbox_top_left", (512, 255, 1, 1, 0, 0)),
        (
            (100, 199),
            "letterbox_top_left",
            (100, 199, 512 / 199, 257 / 100, 0, 0),
        ),  # 257.3 rows: cut down
        ((1024, 256), "stretch", (1024, 256, 2, 0.5, 0, 0)),
        ((4000, 1), "letterbox", (4000, 1, 1, 0.128, 255, 0)),
    ],
)
def test_fit(size: tuple[int, int], resize: Resize, expected: tuple[float, ...]) -> None:
    assert fit(*size, 512, 512, resize) == pytest.approx(expected)


@given(SIDE, SIDE, HOW)
def test_boxes_come_back_within_a_hundredth_of_a_pixel(
    height: int, width: int, resize: Resize
) -> None:
    geometry = fit(height, width, 416, 640, resize)
    boxes = np.array(
        [[0, 0, width, height], [width / 3, height / 4, width / 2, height / 2]], np.float64
    )
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2)
    on_canvas = boxes * scale + [geometry.pad_x, geometry.pad_y] * 2
    assert (on_canvas >= 0).all()
    assert (on_canvas <= np.array([640, 416] * 2) + 1e-6).all()
    stored = Geometry(*np.array(geometry, np.float32).tolist())  # as it travels between the stages
    # An image thousands of pixels long is squeezed onto a few: float32 pixels of the canvas are
    # coarser there.
    tolerance = max(0.01, 1e-4 / min(geometry.scale_x, geometry.scale_y))
    np.testing.assert_allclose(
        to_image(on_canvas.astype(np.float32), stored), boxes, atol=tolerance
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1, 1), 1),
        ((511, 511), 1),
        ((1023, 700), 1),
        ((1024, 700), 2),
        ((300, 2048), 4),
        ((5000, 8000), 8),
    ],
)
def test_an_image_is_decoded_no_smaller_than_the_canvas(
    size: tuple[int, int], expected: int
) -> None:
    assert decoded_scale(fit(*size, 512, 512, "letterbox")) == expected


def test_stretched_the_shorter_side_decides() -> None:
    assert decoded_scale(fit(4096, 1024, 512, 512, "stretch")) == 2


def test_boxes_are_clipped_to_the_image() -> None:
    geometry = fit(100, 200, 512, 512, "letterbox")
    boxes = to_image(np.array([[-50, 0, 600, 512]], np.float32), geometry)
    assert boxes.tolist() == [[0, 0, 200, 100]]


def test_no_boxes() -> None:
    assert to_image(np.zeros((0, 4), np.float32), fit(3, 4, 5, 6, "letterbox")).shape == (0, 4)


def test_what_the_image_does_not_cover_is_padding() -> None:
    frame = np.full((10, 20, 3), [200, 100, 50], np.uint8)
    canvas = drawn(frame, fit(10, 20, 64, 64, "letterbox"), 64, 64, pad_value=7)
    assert canvas.shape == (64, 64, 3)
    assert (canvas[:16] == 7).all()
    assert (canvas[48:] == 7).all()
    assert (canvas[16:48] == [200, 100, 50]).all()


def test_bgr_swaps_the_ends() -> None:
    frame = np.full((8, 8, 3), [200, 100, 50], np.uint8)
    canvas = drawn(frame, fit(8, 8, 16, 16, "stretch"), 16, 16, color_order="bgr")
    assert (canvas == [50, 100, 200]).all()


@given(SIDE, SIDE, HOW)
def test_any_size_fits_its_canvas(height: int, width: int, resize: Resize) -> None:
    frame = np.zeros((min(height, 700), min(width, 700), 3), np.uint8)
    geometry = fit(*frame.shape[:2], 96, 64, resize)
    assert drawn(frame, geometry, 96, 64).shape == (96, 64, 3)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "area", "cubic"])
def test_interpolations_keep_a_flat_image_flat(interpolation: str) -> None:
    frame = np.full((30, 40, 3), 99, np.uint8)
    canvas = drawn(frame, fit(30, 40, 12, 16, "stretch"), 12, 16, interpolation=interpolation)
    assert (canvas == 99).all()
