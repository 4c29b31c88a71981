"""The SDK against the real server and against `boxwise.testing`'s: the same tests, so that neither
drifts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from contract_support.calls import Triton
from contract_support.either import CLIENTS
from contract_support.synthetic import CANVAS, Dots, make_dots

from boxwise import Client, InvalidArgument, InvalidImage, PipelineInfo, Result, UnknownPipeline
from boxwise.testing import FakeServer

DOTS = make_dots(12)
FRAME = DOTS.draw()
PNG = cv2.imencode(".png", FRAME[..., ::-1])[1].tobytes()
COLORS = ["red", "green", "blue"]


def find(server: FakeServer, dots: Dots) -> None:
    """Tell a fake server what the models find on an image of dots."""
    for box, color, class_id, score in zip(
        dots.boxes, dots.colors, dots.class_ids, dots.scores, strict=True
    ):
        shades = dict(zip(COLORS, (color / 255).tolist(), strict=True))
        name = COLORS[class_id]
        asked = {"reds": {"red": 1.0}} if name == "red" else {}
        server.find(name, tuple(box.tolist()), float(score), shade=shades, **asked)


@pytest.fixture(scope="module")
def real_info(triton: Triton) -> PipelineInfo:
    with Client(triton.grpc_url, pipeline="dots") as client:
        return client.info()


@pytest.fixture(scope="module", params=["triton", "fake"])
def url(request: pytest.FixtureRequest, triton: Triton, real_info: PipelineInfo) -> Iterator[str]:
    """A server of the pipeline dots."""
    if request.param == "triton":
        yield triton.grpc_url
        return
    with FakeServer(info=real_info) as server:
        find(server, DOTS)
        yield server.url


@pytest.fixture(scope="module", params=sorted(CLIENTS))
def client(request: pytest.FixtureRequest, url: str) -> Iterator[Any]:
    with CLIENTS[request.param](url, pipeline="dots") as client:
        yield client


def assert_dots(result: Result, rows: np.ndarray) -> None:
    """Just these dots, best first."""
    rows = rows[np.argsort(-DOTS.scores[rows], kind="stable")]
    assert len(result) == len(rows)
    np.testing.assert_allclose(result.confidence, DOTS.scores[rows], atol=1e-6)
    np.testing.assert_array_equal(result.xyxy, DOTS.boxes[rows])
    np.testing.assert_array_equal(result.class_id, DOTS.class_ids[rows])
    assert result.image_size == (CANVAS, CANVAS)
    for detection, row in zip(result, rows, strict=True):
        assert detection.class_name == COLORS[DOTS.class_ids[row]]
        shades = {label.name: label.score for label in detection.labels["shade"]}
        np.testing.assert_allclose(
            [shades[name] for name in COLORS], DOTS.colors[row] / 255, atol=1e-6
        )
        assert [label.name for label in detection.labels["reds"]] == ["red"] * (
            detection.class_name == "red"
        )


ALL = np.arange(len(DOTS.boxes))


@pytest.mark.parametrize("transfer", ["raw", "auto", "encoded", "shm"])
def test_a_file_s_bytes_are_answered(client: Any, transfer: Any) -> None:
    assert_dots(client.predict(PNG, transfer=transfer), ALL)


def test_pixels_are_answered_as_their_file_is(client: Any) -> None:
    assert_dots(client.predict(FRAME), ALL)


def test_thresholds_and_filters_hold(client: Any) -> None:
    threshold = float(np.sort(DOTS.scores)[6])
    assert_dots(
        client.predict(PNG, score_threshold=threshold - 1e-4),
        np.flatnonzero(DOTS.scores >= threshold),
    )
    assert_dots(client.predict(PNG, max_detections=5), np.argsort(-DOTS.scores)[:5])
    assert_dots(client.predict(PNG, class_filter=[0, 2]), np.flatnonzero(DOTS.class_ids != 1))
    assert len(client.predict(PNG, score_threshold=1.0, class_filter=[2])) == 0


@pytest.mark.parametrize("image", [b"", b"no image", PNG[:200], np.zeros((0, 0, 3), np.uint8)])
def test_what_is_no_image_is_an_invalid_image(client: Any, image: Any) -> None:
    with pytest.raises(InvalidImage, match=r"^(image|frame):") as caught:
        client.predict(image)
    assert (caught.value.code, caught.value.pipeline) == ("INVALID_ARGUMENT", "dots")
    assert caught.value.request_id
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"score_threshold": 1.5}, "score_threshold: expected a number from 0 to 1, got 1.5"),
        ({"iou_threshold": -0.5}, "iou_threshold: expected a number from 0 to 1, got -0.5"),
        ({"max_detections": 0}, "max_detections: expected 1 to 100"),
        ({"max_detections": 101}, "max_detections: expected 1 to 100"),
        ({"class_filter": []}, "class_filter: empty"),
        ({"class_filter": [3]}, "class_filter: expected class ids from 0 to 2, got 3"),
    ],
)
def test_an_argument_out_of_range_is_named(
    client: Any, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.predict(PNG, **options)
    assert str(caught.value).startswith(named)
    assert type(caught.value) is InvalidArgument


def test_the_info_is_the_server_s(client: Any, real_info: PipelineInfo) -> None:
    assert client.info() == real_info


def test_a_pipeline_that_is_not_there(url: str) -> None:
    with Client(url, pipeline="avenue") as client:
        with pytest.raises(UnknownPipeline, match="has no pipeline 'avenue'"):
            client.predict(PNG)
        assert not client.ready()
        assert client.live()


def test_health(client: Any) -> None:
    assert client.live()
    assert client.ready()


def test_many_at_once_are_each_answered(client: Any) -> None:
    images: list[Any] = [PNG, b"no image", FRAME] * 8
    outcomes = list(client.predict_many(images, concurrency=6))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True] * 8
    for outcome in outcomes:
        if outcome.result is not None:
            assert_dots(outcome.result, ALL)
