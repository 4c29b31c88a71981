"""Inputs that once broke boxwise, with the right values of each, which others computed (CASES.md
beside them).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_support.calls import Triton
from contract_support.command import boxwise
from PIL import Image

from boxwise import Client, Detection, InvalidImage

# Of decoders and resizers that differ by a level, and values that were rounded.
BOXES, SCORES = (
    1.5,
    0.006,
)


@pytest.fixture(scope="module")
def client(triton: Triton, shared_data: Path) -> Iterator[Client]:
    """The pipeline of YOLOX-Nano and COCO's labels, with which the values were computed."""
    with Client(triton.grpc_url, pipeline="street", timeout_s=60) as client:
        yield client


def check(found: Detection, name: str, score: float, *box: float) -> None:
    assert found.class_name == name
    assert found.confidence == pytest.approx(score, abs=SCORES)
    if box:
        np.testing.assert_allclose(found.xyxy, box, atol=BOXES)


def test_a_video_on_its_side(client: Client, shared_cases: Path) -> None:
    frames = list(client.predict_video(shared_cases / "rotated90.mp4"))
    assert all(frame.unwrap().image_size == (480, 360) for frame in frames)
    first, second, third = (frame.unwrap()[0] for frame in frames[:3])
    check(first, "person", 0.879, 136, 227, 203, 359)
    check(second, "person", 0.859)
    check(third, "person", 0.822)


def test_a_video_with_a_damaged_packet(client: Client, shared_cases: Path) -> None:
    frames = list(client.predict_video(shared_cases / "one_bad_packet.avi"))
    assert [frame.number for frame in frames if frame.error] == [30]
    assert sum(frame.result is not None for frame in frames) == 59


@pytest.mark.parametrize("mode", ["L", "I", "F", "F 0..1", "I 0..65535"])
def test_grey_of_every_mode(client: Client, shared_cases: Path, mode: str) -> None:
    grey = Image.open(shared_cases / "images" / "photo.jpg").convert("L")
    image = {
        "F 0..1": lambda: Image.fromarray(np.asarray(grey, np.float32) / 255),
        "I 0..65535": lambda: Image.fromarray(np.asarray(grey, np.int32) * 257),
    }.get(mode, lambda: grey.convert(mode))()
    first, second, *_ = client.predict(image)
    check(first, "teddy bear", 0.797, 0, 18, 136, 316)
    check(second, "teddy bear", 0.758, 58, 0, 214, 282)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("truncated.jpg", "the JPEG file is truncated"),
        ("truncated_header.jpg", "the JPEG file is truncated"),
        ("base64.txt", "base64"),
        ("base64.jpg", "base64"),
        ("data_url.txt", "data URL"),
        ("header.heic", "HEIC"),
        ("header.avif", "AVIF"),
        ("header.jxl", "JPEG XL"),
        ("page.html", "HTML"),
    ],
)
def test_what_is_no_image_is_named(
    client: Client, shared_cases: Path, name: str, sentence: str
) -> None:
    path = shared_cases / "images" / name
    for given in (path, path.read_bytes()):
        with pytest.raises(InvalidImage, match=sentence) as refused:
            client.predict(given)
        assert len(str(refused.value)) < 300


def test_what_the_server_does_not_decode_is_answered(client: Client, shared_cases: Path) -> None:
    """A GIF of 256 colours is nearly the photo; the TIFF is a small copy of it."""
    for name, score in (("photo.jpg", 0.89), ("photo.gif", 0.89), ("photo.tiff", 0.87)):
        check(client.predict(shared_cases / "images" / name)[0], "teddy bear", score)
    with Image.open(shared_cases / "images" / "photo.gif") as gif:
        expected = client.predict(gif.convert("RGB"))
    np.testing.assert_array_equal(
        client.predict(shared_cases / "images" / "photo.gif").xyxy, expected.xyxy
    )
    encoded = client.predict(shared_cases / "images" / "photo.gif", transfer="encoded")
    np.testing.assert_array_equal(encoded.xyxy, expected.xyxy)


# mAP@[.5:.95] and mAP50 of right_map.py, which knows nothing of boxwise.
SETS = {
    "roboflow/valid": (12, 0.3481, 0.5743),
    "roboflow": (12, 0.3481, 0.5743),
    "roboflow/data.yaml": (12, 0.3481, 0.5743),
    "ultralytics": (5, 0.3613, 0.5677),
    "ultralytics --split train": (3, 0.3413, 0.6052),
    "polygons": (4, 0.4231, 0.6744),
}


@pytest.mark.parametrize("data", SETS)
def test_labelled_sets_as_people_have_them(
    triton: Triton, client: Client, shared_cases: Path, data: str
) -> None:
    name, *options = data.split(" ")
    said = evaluated(triton, shared_cases / "sets" / name, *options)
    images, average, average50 = SETS[data]
    assert said["pictures"] == images
    assert said["map"] == pytest.approx(average, abs=0.005)
    assert said["map50"] == pytest.approx(average50, abs=0.005)


def evaluated(triton: Triton, *arguments: object) -> dict[str, Any]:
    command = ("eval", "--url", triton.grpc_url, "--pipeline", "street", "--json", "--data")
    done = boxwise(*command, *arguments)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document
