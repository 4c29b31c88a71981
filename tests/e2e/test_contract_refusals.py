"""What cannot be answered is refused with a sentence that names the input and the limit, and
disturbs nothing.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from contract_support.calls import Answer, Array, Refusal, Triton, assert_same
from contract_support.synthetic import make_dots
from numpy.typing import NDArray
from PIL import Image

FRAME = make_dots(20).draw()
GOOD = cv2.imencode(".png", FRAME[..., ::-1])[1].tobytes()
NOISE = np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8)


def tensor(file: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(file, np.uint8)


def pillow(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends where its first pixel would come."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 100) + b"IDAT"


def resized_jpeg(width: int, height: int) -> bytes:
    """A JPEG whose header says another size than it has pixels for."""
    file = bytearray(pillow("JPEG"))
    at = file.index(b"\xff\xc0") + 5
    file[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(file)


@pytest.fixture(scope="module")
def good(triton: Triton) -> dict[str, tuple[dict[str, Array], Answer]]:
    """A good request to each model that the refusals go to, and its answer before any of them."""
    image, frame = {"image": tensor(GOOD)}, {"frame": FRAME}
    small = {"image": tensor(pillow("PNG"))}
    requests = {"dots": image, "dots_raw": frame, "whole": small, "whole_raw": {"frame": NOISE}}
    return {model: (request, triton.infer(model, request)) for model, request in requests.items()}


@pytest.fixture(scope="module")
def took(figures: list[str]) -> Iterator[list[tuple[float, str]]]:
    """How long each refusal took."""
    times: list[tuple[float, str]] = []
    yield times
    if times:
        slowest, what = max(times)
        median = float(np.median([each for each, _ in times]))
        over = sum(each > 50 for each, _ in times)
        figures.append(
            f"{len(times)} refusals: median {median:.1f} ms, slowest {slowest:.1f} ms "
            f"({what}), {over} over 50 ms"
        )


@pytest.fixture
def refuse(
    triton: Triton,
    good: dict[str, tuple[dict[str, Array], Answer]],
    took: list[tuple[float, str]],
    request: pytest.FixtureRequest,
) -> object:
    """Send what must be refused; the next good request is answered as before, to the last bit."""

    def _refuse(model: str, inputs: Mapping[str, Array], *words: str) -> Refusal:
        refused = triton.refusal(model, inputs)
        took.append((refused.milliseconds, request.node.name))
        asked, answer = good[model]
        assert_same(triton.infer(model, asked), answer)
        assert refused.status == "INVALID_ARGUMENT", refused
        for word in words:
            assert word in refused.sentence, refused.sentence
        return refused

    return _refuse


NOT_IMAGES = {
    "text": b"hello, I am no image",
    "one byte": b"\xff",
    "zeros": bytes(5000),
    "GIF": pillow("GIF"),
    "TIFF": pillow("TIFF"),
    "PDF": pillow("PDF"),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" '
    b'height="9"/></svg>',
    "BMP's first bytes": b"BM",
}
FIRST_BYTES = {
    "JPEG": b"\xff\xd8\xff\xe0",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "WebP": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
}


@pytest.mark.parametrize("pipeline", ["dots", "whole"])
def test_an_empty_image(refuse, pipeline: str) -> None:
    refuse(pipeline, {"image": np.empty(0, np.uint8)}, "image", "empty", "JPEG, PNG, WebP or BMP")


@pytest.mark.parametrize("pipeline", ["dots", "whole"])
@pytest.mark.parametrize("kind", NOT_IMAGES)
def test_what_is_no_image(refuse, kind: str, pipeline: str) -> None:
    refuse(pipeline, {"image": tensor(NOT_IMAGES[kind])}, "image", "JPEG, PNG, WebP or BMP")


@pytest.mark.parametrize("pipeline", ["dots", "whole"])
@pytest.mark.parametrize("kind", FIRST_BYTES)
def test_the_first_bytes_of_an_image(refuse, kind: str, pipeline: str) -> None:
    refuse(pipeline, {"image": tensor(FIRST_BYTES[kind])}, "image", f"the {kind} file is truncated")


FILES = {
    "JPEG": pillow("JPEG", quality=90),
    "JPEG, progressive": pillow("JPEG", quality=90, progressive=True),
    "JPEG, not for OpenCV": pillow("JPEG", quality=90, keep_rgb=True),
    "PNG": pillow("PNG"),
    "WebP": pillow("WEBP"),
    "WebP, lossless": pillow("WEBP", lossless=True),
    "BMP": pillow("BMP"),
}


@pytest.mark.parametrize(
    "kept", ["20 bytes", "60 bytes", 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, "all but 30 bytes"]
)
@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_file(refuse, kind: str, kept: float | str) -> None:
    file = FILES[kind]
    lengths = {"20 bytes": 20, "60 bytes": 60, "all but 30 bytes": len(file) - 30}
    length = lengths[kept] if isinstance(kept, str) else int(len(file) * kept)
    refuse("dots", {"image": tensor(file[:length])}, "image")


def test_a_corrupt_file(refuse) -> None:
    png = bytearray(FILES["PNG"])
    png[len(png) // 2] ^= 0xFF
    refuse("dots", {"image": tensor(bytes(png))}, "image", "PNG", "corrupt")


@pytest.mark.parametrize(
    ("file", "size"),
    [
        (png_header(30000, 30000), "30000 x 30000"),
        (png_header(5001, 5000), "5001 x 5000"),
        (png_header(2**31 - 1, 2**31 - 1), "2147483647 x 2147483647"),
        (resized_jpeg(65000, 65000), "65000 x 65000"),
        (resized_jpeg(5000, 5001), "5000 x 5001"),
    ],
    ids=[
        "PNG of 900",
        "PNG of 25.005",
        "PNG of all there can be",
        "JPEG of 4225",
        "JPEG of 25.005",
    ],
)
def test_an_image_over_the_limit_is_refused_by_its_header(refuse, file: bytes, size: str) -> None:
    refuse("dots", {"image": tensor(file)}, "image", size, "megapixels", "at most 25")


def test_an_image_at_the_limit_is_read_further(refuse) -> None:
    refused = refuse("dots", {"image": tensor(png_header(5000, 5000))}, "image")
    assert "megapixels" not in refused.sentence


def test_a_frame_over_the_limit(refuse, triton: Triton) -> None:
    refuse(
        "whole_raw",
        {"frame": np.zeros((1001, 100, 3), np.uint8)},
        "frame",
        "100 x 1001",
        "megapixels",
        "0.1",
    )
    assert (
        len(triton.infer("whole_raw", {"frame": np.zeros((1000, 100, 3), np.uint8)})["boxes"]) == 1
    )
    refuse(
        "dots_raw",
        {"frame": np.zeros((5001, 5000, 3), np.uint8)},
        "frame",
        "5000 x 5001",
        "at most 25",
    )
    refuse(
        "dots_raw",
        {"frame": np.zeros((1, 10_001, 3), np.uint8)},
        "frame",
        "10001 x 1",
        "over 10000 times",
    )


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 0, 3)])
@pytest.mark.parametrize("model", ["dots_raw", "whole_raw"])
def test_a_frame_of_no_pixels(refuse, model: str, shape: tuple[int, ...]) -> None:
    refuse(model, {"frame": np.zeros(shape, np.uint8)}, "frame", "at least 1 x 1")


@pytest.mark.parametrize("value", [-0.01, 1.01, 100, -1e30, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["score_threshold", "iou_threshold"])
@pytest.mark.parametrize("model", ["dots", "dots_raw", "whole"])
def test_a_threshold_out_of_range(refuse, good, model: str, name: str, value: float) -> None:
    refuse(model, good[model][0] | {name: np.array([value], np.float32)}, name, "0 to 1")


@pytest.mark.parametrize(("model", "most"), [("dots", 100), ("dots_raw", 100), ("whole", 1)])
@pytest.mark.parametrize("value", [0, -1, None, 2**31 - 1, -(2**31)])
def test_a_maximum_out_of_range(refuse, good, model: str, most: int, value: int | None) -> None:
    value = most + 1 if value is None else value
    asked = {"max_detections": np.array([value], np.int32)}
    refuse(model, good[model][0] | asked, "max_detections", f"1 to {most}", str(value))


@pytest.mark.parametrize("classes", [[3], [0, 1, 3], [-1], [2**31 - 1], [-(2**31)]])
def test_a_class_that_the_detector_does_not_have(refuse, good, classes: list[int]) -> None:
    asked = {"class_filter": np.array(classes, np.int32)}
    refuse("dots", good["dots"][0] | asked, "class_filter", "0 to 2", str(classes[-1]))


def test_an_empty_class_filter(refuse, good) -> None:
    refuse(
        "dots",
        good["dots"][0] | {"class_filter": np.empty(0, np.int32)},
        "class_filter",
        "empty",
        "leave it out",
    )


def test_a_class_filter_without_a_detector(refuse, good) -> None:
    asked = {"class_filter": np.array([0], np.int32)}
    refuse("whole", good["whole"][0] | asked, "class_filter", "no detector", "leave it out")


@pytest.mark.parametrize(
    ("model", "missing"),
    [("dots", "image"), ("dots_raw", "frame"), ("whole", "image"), ("whole_raw", "frame")],
)
def test_no_image_at_all(refuse, model: str, missing: str) -> None:
    threshold = {"score_threshold": np.array([0.5], np.float32)}
    for inputs in ({}, threshold, threshold | {"iou_threshold": np.array([0.5], np.float32)}):
        refuse(model, inputs, missing, "missing")


@pytest.mark.parametrize(
    ("model", "name", "values"),
    [
        ("dots", "image", np.zeros((1, 100), np.uint8)),
        ("dots", "image", np.zeros((8, 8, 3), np.uint8)),
        ("dots_raw", "frame", np.zeros((8, 8), np.uint8)),
        ("dots_raw", "frame", np.zeros((8, 8, 1), np.uint8)),
        ("dots_raw", "frame", np.zeros((8, 8, 4), np.uint8)),
        ("dots_raw", "frame", np.zeros((1, 8, 8, 3), np.uint8)),
        ("whole_raw", "frame", np.zeros((3, 8, 8), np.uint8)),
        ("dots", "score_threshold", np.array([0.1, 0.2], np.float32)),
        ("dots", "score_threshold", np.empty(0, np.float32)),
        ("dots", "iou_threshold", np.array([[0.1]], np.float32)),
        ("dots", "max_detections", np.array([5, 6], np.int32)),
        ("dots", "class_filter", np.array([[0, 1]], np.int32)),
    ],
)
def test_a_wrong_shape(refuse, good, model: str, name: str, values: Array) -> None:
    refuse(model, good[model][0] | {name: values}, name)


@pytest.mark.parametrize(
    ("model", "name", "values"),
    [
        ("dots", "image", np.zeros(100, np.int8)),
        ("dots", "image", np.zeros(100, np.float32)),
        ("dots", "image", np.array([GOOD], np.object_)),
        ("dots_raw", "frame", np.zeros((8, 8, 3), np.float32)),
        ("dots", "score_threshold", np.array([0.5], np.float64)),
        ("dots", "score_threshold", np.array([1], np.int32)),
        ("dots", "max_detections", np.array([5], np.int64)),
        ("dots", "class_filter", np.array([0], np.int64)),
    ],
)
def test_a_wrong_type(refuse, good, model: str, name: str, values: Array) -> None:
    refuse(model, good[model][0] | {name: values}, name)


def test_an_input_that_does_not_exist(refuse, good) -> None:
    refuse("dots", good["dots"][0] | {"treshold": np.array([0.5], np.float32)}, "treshold")


def test_refusals_among_good_requests_disturb_none(triton: Triton, good) -> None:
    asked, answer = good["dots"]
    bad = [
        {"image": np.empty(0, np.uint8)},
        asked | {"score_threshold": np.array([np.nan], np.float32)},
    ]

    def send(i: int) -> Answer | Refusal:
        return triton.refusal("dots", bad[i // 2 % 2]) if i % 2 else triton.infer("dots", asked)

    with ThreadPoolExecutor(8) as pool:
        for reply in pool.map(send, range(40)):
            if isinstance(reply, Refusal):
                assert reply.status == "INVALID_ARGUMENT"
            else:
                assert_same(reply, answer)
