"""The client against a server with scripted replies: what it asks, what it keeps, and how it fails."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from boxwise import (
    AccessDenied,
    BoxwiseError,
    Cancelled,
    Client,
    ContractMismatch,
    DeadlineExceeded,
    InvalidArgument,
    InvalidImage,
    Overloaded,
    ServerError,
    Unavailable,
    UnknownPipeline,
)

NOBODY = "localhost:1"  # a port that no one listens on


def test_the_first_call_asks_for_the_info_and_keeps_it(server: Any) -> None:
    with Client(server.url, pipeline="street") as client:
        for _ in range(3):
            assert [each.class_name for each in client.predict(b"jpeg")] == ["cup", "cat"]
        assert client.info() is client.info()
        assert client.info().pipeline == "street"
    assert [request.model_name for request in server.requests] == ["street_info", "street", "street", "street"]


def test_options_reach_the_server(server: Any) -> None:
    with Client(server.url, pipeline="street") as client:
        client.predict(
            b"jpeg", score_threshold=0.5, iou_threshold=0.25, max_detections=7, class_filter=np.array([1, 0])
        )
    request = server.requests[-1]
    names = [each.name for each in request.inputs]
    assert names == ["image", "score_threshold", "iou_threshold", "max_detections", "class_filter"]
    raw = list(request.raw_input_contents)
    assert raw[0] == b"jpeg"
    assert [np.frombuffer(each, np.float32).tolist() for each in raw[1:3]] == [[0.5], [0.25]]
    assert [np.frombuffer(each, np.int32).tolist() for each in raw[3:]] == [[7], [1, 0]]


def test_a_file_is_drawn_on_as_it_was_sent(server: Any, tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("L", (96, 64), 128).save(path)
    with Client(server.url, pipeline="street") as client:
        result = client.predict(path)
    assert server.requests[-1].raw_input_contents[0] == path.read_bytes()
    path.unlink()
    drawn = result.draw()
    assert (drawn.size, drawn.mode) == ((96, 64), "RGB")
    assert drawn.getpixel((30, 59)) != (128, 128, 128) == drawn.getpixel((90, 5))


def test_an_array_asks_the_raw_ensemble(server: Any) -> None:
    frame = np.full((64, 96, 3), 9, np.uint8)
    with Client(server.url, pipeline="street") as client:
        assert client.predict(frame).draw().getpixel((90, 5)) == (9, 9, 9)
    assert server.requests[-1].model_name == "street_raw"


def test_a_message_larger_than_grpc_s_own_limit_arrives(server: Any, outputs: dict[str, np.ndarray]) -> None:
    n = 300_000
    many = {name: np.zeros((n, *array.shape[1:]), array.dtype) for name, array in outputs.items()}
    server.answer("street", many | {"image_size": outputs["image_size"]})
    with Client(server.url, pipeline="street") as client:
        assert len(client.predict(bytes(20_000_000))) == n
    assert len(server.requests[-1].raw_input_contents[0]) == 20_000_000


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidImage),
        (grpc.StatusCode.NOT_FOUND, UnknownPipeline),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, ServerError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.PERMISSION_DENIED, AccessDenied),
        (grpc.StatusCode.UNAUTHENTICATED, AccessDenied),
        (grpc.StatusCode.CANCELLED, Cancelled),
        (grpc.StatusCode.DATA_LOSS, ServerError),
    ],
)
def test_a_status_is_raised_as_its_error(server: Any, code: grpc.StatusCode, kind: type[BoxwiseError]) -> None:
    server.refuse("street", code, "in ensemble 'street', image: empty")
    with Client(server.url, pipeline="street") as client:
        with pytest.raises(kind) as caught:
            client.predict(b"")
        assert (caught.value.code, caught.value.pipeline, caught.value.server_message) == (
            code.name,
            "street",
            "image: empty",
        )
        server.answer("street", {})
        with pytest.raises(ContractMismatch):  # the client itself is as good as before
            client.predict(b"")


def test_an_unknown_pipeline_is_named(server: Any) -> None:
    with Client(server.url, pipeline="avenue") as client, pytest.raises(UnknownPipeline, match="no pipeline 'avenue'"):
        client.predict(b"jpeg")


def test_another_contract_is_met_before_a_picture_is_sent(server: Any, info_document: dict[str, Any]) -> None:
    server.describe("street", info_document | {"contract": 2})
    with Client(server.url, pipeline="street") as client, pytest.raises(ContractMismatch, match="version 2"):
        client.predict(b"jpeg")
    assert [request.model_name for request in server.requests] == ["street_info"]


def test_nobody_there(tmp_path: Path) -> None:
    with Client(NOBODY) as client:
        with pytest.raises(Unavailable, match=f"the server at {NOBODY} is not available: connection refused"):
            client.predict(b"jpeg")
        assert not client.ready()


def test_a_slow_answer_is_a_deadline_not_a_hang(server: Any) -> None:
    with Client(server.url, pipeline="street") as client:
        client.predict(b"warm")
        server.delay_s = 2.0
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            client.predict(b"jpeg", timeout_s=0.2)
        assert time.monotonic() - started < 1.5


def test_the_deadline_covers_the_first_call_s_info_too(server: Any) -> None:
    server.delay_s = 0.4
    with Client(server.url, pipeline="street", timeout_s=0.6) as client, pytest.raises(DeadlineExceeded):
        client.predict(b"jpeg")


def test_ready_says_whether_the_pipeline_is_loaded(server: Any) -> None:
    with Client(server.url, pipeline="street") as client, Client(server.url, pipeline="avenue") as other:
        assert client.ready()
        assert not other.ready()


def test_a_client_opens_nothing_until_used_and_nothing_after_close(server: Any) -> None:
    client = Client(server.url, pipeline="street")
    assert not client._pools
    client.predict(b"jpeg")
    client.close()
    client.close()
    with pytest.raises(BoxwiseError, match=r"the client of .* is closed"):
        client.predict(b"jpeg")


def test_an_http_address_is_refused_with_the_one_expected() -> None:
    with pytest.raises(InvalidArgument, match="expected HOST:PORT of the gRPC port, such as localhost:8001"):
        Client("http://localhost:8000")


def test_threads_share_a_client(server: Any) -> None:
    with Client(server.url, pipeline="street") as client, ThreadPoolExecutor(8) as pool:
        pictures = [f"picture {i}".encode() for i in range(64)]
        results = list(pool.map(client.predict, pictures))
    assert {len(result) for result in results} == {2}
    sent = {request.raw_input_contents[0] for request in server.requests if request.model_name == "street"}
    assert sent == set(pictures)
