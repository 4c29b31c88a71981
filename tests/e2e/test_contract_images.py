"""Images of every kind are seen as a viewer shows them: colours, transparency, rotation, sizes from
1 x 1 up.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from contract_support.calls import Answer, Triton, assert_same, assert_well_formed
from contract_support.synthetic import CANVAS, make_dots, read_pixels
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
SIDE = 16
WHOLE = {"stretched": SIDE * SIDE * 3, "centred": 8 * 8 * 3}
DOTS = {"shade": 3, "reds": 1, "vivid": 3}
ORIENTATION = 274

_NOISE = np.random.default_rng(3)
# Every value a surprise, for what is lossless; smooth, for what is lossy.
SHARP: Pixels = _NOISE.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
ALPHA: Pixels = _NOISE.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
_Y, _X = np.mgrid[0:SIDE, 0:SIDE]
SMOOTH: Pixels = np.stack([40 + 10 * _X, 230 - 9 * _Y, 60 + 4 * _X + 4 * _Y], axis=-1).astype(
    np.uint8
)
GREY: Pixels = SHARP[..., 0]
INDEX: Pixels = (SHARP[..., 1] // 16).astype(np.uint8)
PALETTE: Pixels = _NOISE.integers(0, 256, (16, 3)).astype(np.uint8)
WIDE = _NOISE.integers(0, 65536, (SIDE, SIDE, 4)).astype(np.uint16)


def pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opencv(suffix: str, pixels: NDArray[Any]) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def grey_as_rgb(grey: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def on_white(color: NDArray[Any], alpha: NDArray[Any], most: int = 255) -> NDArray[Any]:
    """What shows of a transparent image on a white page."""
    share = alpha[..., np.newaxis] / most
    return color / most * share * 255 + 255 * (1 - share)


def palette_image() -> Image.Image:
    image = Image.fromarray(INDEX, "P")
    image.putpalette(PALETTE.tobytes())
    return image


def cmyk_image() -> tuple[Image.Image, NDArray[Any]]:
    ink = np.stack([_X * 8, _Y * 8, 120 - _X * 4, 10 + _Y * 3], axis=-1).astype(np.uint8)
    shown = (255.0 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255
    return Image.fromarray(ink, "CMYK"), shown


def animated_webp() -> bytes:
    later = [Image.fromarray(255 - SHARP)]
    return pillow(
        Image.fromarray(SHARP),
        "WEBP",
        lossless=True,
        save_all=True,
        append_images=later,
        duration=50,
    )


def kinds() -> dict[str, tuple[bytes, NDArray[Any], float]]:
    """Kind of file -> the file, what a viewer shows, and how far off (of 255) one value may be."""
    sharp, smooth = Image.fromarray(SHARP), Image.fromarray(SMOOTH)
    rgba = Image.fromarray(np.dstack([SHARP, ALPHA]), "RGBA")
    la = Image.fromarray(np.dstack([GREY, ALPHA]), "LA")
    cmyk, cmyk_shown = cmyk_image()
    bits = GREY > 127
    one_bit = Image.fromarray(bits)
    see_through = np.linspace(0, 255, 16).round().astype(np.uint8)
    high = WIDE / 257
    jpeg = {"quality": 100, "subsampling": 0}
    return {
        "PNG, RGB": (pillow(sharp, "PNG"), SHARP, 0),
        "PNG, grey": (pillow(Image.fromarray(GREY), "PNG"), grey_as_rgb(GREY), 0),
        "PNG, palette": (pillow(palette_image(), "PNG"), PALETTE[INDEX], 0),
        "PNG, palette with one transparent colour": (
            pillow(palette_image(), "PNG", transparency=5),
            np.where(INDEX[..., np.newaxis] == 5, 255, PALETTE[INDEX]),
            0,
        ),
        "PNG, palette with transparency": (
            pillow(palette_image(), "PNG", transparency=see_through.tobytes()),
            on_white(PALETTE[INDEX], see_through[INDEX]),
            1,
        ),
        "PNG, RGB with one transparent colour": (
            pillow(sharp, "PNG", transparency=tuple(SHARP[3, 4].tolist())),
            np.where((SHARP[3, 4] == SHARP).all(axis=-1, keepdims=True), 255, SHARP),
            0,
        ),
        "PNG, grey with one transparent grey": (
            pillow(Image.fromarray(GREY), "PNG", transparency=int(GREY[3, 4])),
            grey_as_rgb(np.where(GREY[3, 4] == GREY, 255, GREY)),
            0,
        ),
        "PNG, RGBA": (pillow(rgba, "PNG"), on_white(SHARP, ALPHA), 1),
        "PNG, LA": (pillow(la, "PNG"), on_white(grey_as_rgb(GREY), ALPHA), 1),
        "PNG, 1-bit": (pillow(one_bit, "PNG"), grey_as_rgb(bits * 255), 0),
        "PNG, 16-bit grey": (opencv(".png", WIDE[..., 0]), grey_as_rgb(high[..., 0]), 1),
        "PNG, 16-bit RGB": (opencv(".png", WIDE[..., :3][..., ::-1]), high[..., :3], 1),
        "PNG, 16-bit RGBA": (
            opencv(".png", WIDE[..., [2, 1, 0, 3]]),
            on_white(WIDE[..., :3], WIDE[..., 3], 65535),
            2,
        ),
        "JPEG": (pillow(smooth, "JPEG", **jpeg), SMOOTH, 4),
        "JPEG, subsampled": (pillow(smooth, "JPEG", quality=95, subsampling=2), SMOOTH, 12),
        "JPEG, progressive": (pillow(smooth, "JPEG", progressive=True, **jpeg), SMOOTH, 4),
        "JPEG, grey": (
            pillow(Image.fromarray(SMOOTH[..., 0]), "JPEG", **jpeg),
            grey_as_rgb(SMOOTH[..., 0]),
            4,
        ),
        "JPEG, CMYK": (pillow(cmyk, "JPEG", quality=100), cmyk_shown, 6),
        "JPEG, stored as RGB": (pillow(smooth, "JPEG", keep_rgb=True, **jpeg), SMOOTH, 4),
        "BMP": (pillow(sharp, "BMP"), SHARP, 0),
        "BMP, grey": (pillow(Image.fromarray(GREY), "BMP"), grey_as_rgb(GREY), 0),
        "BMP, palette": (pillow(palette_image(), "BMP"), PALETTE[INDEX], 0),
        "BMP, 1-bit": (pillow(one_bit, "BMP"), grey_as_rgb(bits * 255), 0),
        "WebP, lossy": (pillow(smooth, "WEBP", quality=100), SMOOTH, 12),
        "WebP, lossless": (pillow(sharp, "WEBP", lossless=True), SHARP, 0),
        "WebP, alpha": (pillow(rgba, "WEBP", lossless=True, exact=True), on_white(SHARP, ALPHA), 1),
        "WebP, the first frame of an animation": (animated_webp(), SHARP, 0),
    }


KINDS = kinds()


def seen(answer: Answer) -> NDArray[np.float32]:
    """The pixels that the classifier was shown, of an image of 16 x 16."""
    return read_pixels(answer["stretched_ids"][0], answer["stretched_scores"][0], SIDE)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_file_is_seen_as_it_is_shown(triton: Triton, kind: str) -> None:
    file, shown, tolerance = KINDS[kind]
    answer = triton.predict("whole", file)
    assert_well_formed(answer, 1, WHOLE, height=SIDE, width=SIDE)
    np.testing.assert_allclose(seen(answer), shown, atol=tolerance)


def test_a_progressive_jpeg_is_the_baseline_one_to_the_last_bit(triton: Triton) -> None:
    smooth = Image.fromarray(SMOOTH)
    one, other = (
        triton.predict("whole", pillow(smooth, "JPEG", progressive=how)) for how in (False, True)
    )
    assert_same(one, other)


def stored(shown: Pixels, orientation: int) -> Pixels:
    """The pixels of a file whose orientation tag makes a viewer show `shown` (EXIF 2.32,
    tag 274).
    """
    undo: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],  # mirrored
        3: lambda p: p[::-1, ::-1],  # half a turn
        4: lambda p: p[::-1],  # upside down, mirrored
        5: lambda p: p.transpose(1, 0, 2),  # the 0th row is the left side
        6: lambda p: np.rot90(p, 1),  # the viewer turns it a quarter clockwise
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(undo[orientation](shown))


@pytest.mark.parametrize("kind", ["JPEG", "JPEG, grey", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_in_pixels_of_the_image_as_shown(
    triton: Triton, orientation: int, kind: str
) -> None:
    width, height, scale = 1024, 512, 2
    dots = make_dots(12, width=width // scale, height=height // scale)
    frame = dots.draw(width, height, scale)
    if kind == "JPEG, grey":
        frame = grey_as_rgb(frame.max(axis=2))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(stored(frame, orientation))
    if kind == "JPEG, grey":
        image = image.convert("L")
    options = {"WEBP": {"lossless": True}, "PNG": {}}.get(kind, {"quality": 100, "subsampling": 0})
    file = pillow(image, kind.split(",")[0], exif=exif, **options)

    answer = triton.predict("dots", file, class_filter=[0, 1, 2])
    places = {tuple(box) for box in (dots.boxes * scale).tolist()}
    assert answer["image_size"].tolist() == [height, width]
    assert {tuple(box) for box in answer["boxes"].tolist()} == places
    if kind != "JPEG, grey":
        by_place = {tuple(box): i for i, box in enumerate((dots.boxes * scale).tolist())}
        rows = [by_place[tuple(box)] for box in answer["boxes"].tolist()]
        np.testing.assert_array_equal(answer["class_ids"], dots.class_ids[rows])
        np.testing.assert_allclose(
            answer["scores"], dots.scores[rows], atol=0.02 if kind == "JPEG" else 1e-6
        )
        shade = np.zeros((len(rows), 3))
        np.put_along_axis(shade, answer["shade_ids"].astype(int), answer["shade_scores"], axis=1)
        np.testing.assert_allclose(
            shade * 255, dots.colors[rows], atol=5 if kind == "JPEG" else 0.01
        )


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(triton: Triton, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for kind, pixels in (("PNG", SHARP), ("JPEG", SMOOTH)):
        plain = triton.predict("whole", pillow(Image.fromarray(pixels), kind))
        assert_same(
            triton.predict("whole", pillow(Image.fromarray(pixels), kind, exif=exif)), plain
        )


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 4000), (4000, 1), (1, 2), (3, 1)])
def test_the_thinnest_images_are_answered(
    triton: Triton, width: int, height: int, suffix: str
) -> None:
    red = np.zeros((height, width, 3), np.uint8)
    red[..., 2] = 255  # BGR
    file = opencv(suffix, red)
    answer = triton.predict("dots", file)
    assert len(answer["boxes"]) > 0
    assert (answer["class_ids"] == 0).all()
    assert_well_formed(answer, len(answer["boxes"]), DOTS, height=height, width=width)
    whole = triton.predict("whole", file)
    assert_well_formed(whole, 1, WHOLE, height=height, width=width)
    for name, side in (("stretched", SIDE), ("centred", 8)):
        pixels = read_pixels(whole[f"{name}_ids"][0], whole[f"{name}_scores"][0], side)
        np.testing.assert_allclose(pixels, np.broadcast_to([255, 0, 0], pixels.shape), atol=3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 4000), (4000, 1)])
def test_real_models_answer_the_thinnest_images(triton: Triton, width: int, height: int) -> None:
    answer = triton.predict(
        "boxwise", opencv(".png", np.full((height, width, 3), 128, np.uint8)), score_threshold=0.01
    )
    assert_well_formed(answer, len(answer["boxes"]), {"imagenet": 5}, height=height, width=width)


@pytest.mark.parametrize(("pipeline", "classifiers"), [("dots", DOTS), ("scaled", {})])
def test_a_jpeg_of_24_megapixels(
    triton: Triton, figures: list[str], pipeline: str, classifiers: dict[str, int]
) -> None:
    scale, width, height = 12, 6144, 3936  # the canvas is 512 x 328 of it, 92 down
    assert width * height > 24_000_000
    dots = make_dots(100, height=height // scale)
    file = opencv(".jpg", dots.draw(width, height, scale)[..., ::-1])
    start = time.perf_counter()
    answer = triton.predict(pipeline, file)
    figures.append(
        f"24-megapixel JPEG through the {pipeline} pipeline: "
        f"{(time.perf_counter() - start) * 1000:.0f} ms"
    )
    assert_well_formed(answer, 100, classifiers, height=height, width=width)
    by_place = {tuple(box): i for i, box in enumerate((dots.boxes * scale).tolist())}
    rows = [by_place[tuple(box)] for box in answer["boxes"].round(3).tolist()]
    assert sorted(rows) == list(range(100))
    np.testing.assert_array_equal(answer["class_ids"], dots.class_ids[rows])
    np.testing.assert_allclose(answer["scores"], dots.scores[rows], atol=0.02)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_a_frame_is_answered_as_its_lossless_file(triton: Triton, kind: str) -> None:
    frame = make_dots(40).draw(640, 480)
    options = {"lossless": True} if kind == "WEBP" else {}
    file = pillow(Image.fromarray(frame), kind, **options)
    for asked in (
        {},
        {"score_threshold": 0.7},
        {"class_filter": [1], "max_detections": 4, "iou_threshold": 0.1},
    ):
        assert_same(
            triton.predict_raw("dots", frame, **asked), triton.predict("dots", file, **asked)
        )


def test_real_models_answer_a_frame_as_its_lossless_file(
    triton: Triton, photos: dict[str, bytes]
) -> None:
    for file in photos.values():
        frame = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        assert_same(triton.predict_raw("boxwise", frame), triton.predict("boxwise", file))


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (1, 4000), (4000, 1), (CANVAS, CANVAS), (300, 200)]
)
def test_a_whole_picture_is_answered_the_same_from_pixels(
    triton: Triton, width: int, height: int
) -> None:
    frame = (
        np.random.default_rng(width).integers(0, 256, (min(height, 190), width, 3)).astype(np.uint8)
    )
    assert_same(
        triton.predict_raw("whole", frame),
        triton.predict("whole", opencv(".png", frame[..., ::-1])),
    )
