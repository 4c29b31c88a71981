"""Drawing: nothing, one pixel, over the edge, crowded, small and large."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from boxwise import Detection, Label
from boxwise._draw import _Area, _place, colour, draw

GREY = (128, 128, 128)


def detection(
    box: tuple[float, float, float, float], class_id: int = 0, name: str = "cup"
) -> Detection:
    return Detection(box, 0.9, class_id, name, {"imagenet": (Label(2, "espresso", 0.8),)})


def changed(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int] | None:
    """The smallest area that holds every changed pixel."""
    return ImageChops.difference(before, after).getbbox()


def test_no_detections_change_nothing() -> None:
    image = Image.new("RGB", (30, 20), GREY)
    drawn = draw(image, [])
    assert drawn is not image
    assert changed(image, drawn) is None


def test_the_image_itself_is_left_alone() -> None:
    image = Image.new("RGB", (300, 200), GREY)
    draw(image, [detection((10, 10, 100, 100))])
    assert changed(image, Image.new("RGB", (300, 200), GREY)) is None


def test_one_pixel_is_one_box() -> None:
    drawn = draw(Image.new("RGB", (1, 1), GREY), [detection((0, 0, 1, 1), class_id=3)])
    assert drawn.getpixel((0, 0)) == colour(3)


def test_the_outline_is_the_box_s_outermost_pixels() -> None:
    # Too low for a caption.
    drawn = np.asarray(draw(Image.new("RGB", (40, 15), GREY), [detection((5, 3, 20, 12))]))
    touched = (drawn != GREY).any(axis=2)
    expected = np.zeros((15, 40), bool)
    expected[3:12, 5:20] = True
    expected[4:11, 6:19] = False
    np.testing.assert_array_equal(touched, expected)


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 900, 900),
        (90, 50, 96.5, 64.2),
        (95.9, 63.9, 96, 64),
        (-20, -20, -10, -10),
        (500, 500, 600, 600),
    ],
)
def test_a_box_over_the_edge_is_drawn_up_to_it(box: tuple[float, float, float, float]) -> None:
    image = Image.new("RGB", (96, 64), GREY)
    drawn = draw(image, [detection(box)])
    assert drawn.size == (96, 64)
    assert changed(image, drawn) is not None


def test_a_class_has_one_colour_and_its_neighbours_others() -> None:
    assert colour(7) == colour(7)
    assert len({colour(class_id) for class_id in range(-1, 80)}) == 81
    assert all(
        sum(abs(a - b) for a, b in zip(colour(i), colour(i + 1), strict=True)) > 100
        for i in range(80)
    )


@pytest.mark.parametrize("width", [320, 640, 1920, 6000])
def test_captions_grow_with_the_image(width: int) -> None:
    image = Image.new("RGB", (width, width * 3 // 4), GREY)
    box = (0.1 * width, 0.3 * width, 0.9 * width, 0.6 * width)
    _, top, _, _ = changed(image, draw(image, [detection(box)])) or (0, 0, 0, 0)
    caption = box[1] - top  # two lines, above the box
    assert 0.04 * image.height < caption < 0.2 * image.height
    assert caption >= 24


def test_a_caption_that_does_not_fit_says_less() -> None:
    image = Image.new("RGB", (110, 60), GREY)
    long = detection((0, 40, 20, 60), name="a name much longer than this image is wide")
    assert changed(image, draw(image, [long])) == (0, 40, 20, 60)
    _, top, _, _ = changed(image, draw(image, [detection((0, 40, 20, 60))])) or (0, 0, 0, 0)
    assert 10 < 40 - top < 25  # one line


sides = st.integers(1, 60)


@given(st.data())
def test_captions_stay_inside_and_apart_where_there_is_room(data: st.DataObject) -> None:
    width, height = data.draw(sides), data.draw(sides)
    size = (data.draw(st.integers(width, 200)), data.draw(st.integers(height, 200)))
    left, top = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    box = _Area(
        left,
        top,
        data.draw(st.integers(left + 1, size[0])),
        data.draw(st.integers(top + 1, size[1])),
    )
    area = _place(width, height, box, size, [])
    assert (area.right - area.left, area.bottom - area.top) == (width, height)
    assert area.left >= 0
    assert area.top >= 0
    assert area.right <= size[0]
    assert area.bottom <= size[1]


def test_captions_of_the_same_box_do_not_cover_each_other() -> None:
    box = _Area(20, 50, 150, 120)
    taken: list[_Area] = []
    for _ in range(4):
        taken.append(_place(60, 20, box, (200, 200), taken))
    above, inside, below = _Area(20, 30, 80, 50), _Area(20, 50, 80, 70), _Area(20, 120, 80, 140)
    assert taken == [above, inside, below, _Area(90, 30, 150, 50)]


def test_the_best_detection_s_caption_lies_on_top() -> None:
    image = Image.new("RGB", (100, 100), GREY)
    whole = (0.0, 0.0, 100.0, 100.0)
    crowd = [detection(whole, class_id) for class_id in range(20)]
    drawn = draw(image, crowd)
    assert (drawn.getpixel((3, 3)), drawn.getpixel((50, 99))) == (colour(0), colour(0))
