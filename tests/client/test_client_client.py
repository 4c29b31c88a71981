"""Both clients against a server with scripted replies: what they ask, what they keep, and how they
fail.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
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
    AsyncClient,
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
from boxwise._blocking import Connection

NOBODY = "localhost:1"  # a port that no one listens on


def test_the_first_call_asks_for_the_info_and_keeps_it(connect: Any, server: Any) -> None:
    with connect(server.url, pipeline="street") as client:
        for _ in range(3):
            assert [each.class_name for each in client.predict(b"jpeg")] == ["cup", "cat"]
        assert client.info() is client.info()
        assert client.info().pipeline == "street"
    assert [request.model_name for request in server.requests] == [
        "street_info",
        "street",
        "street",
        "street",
    ]


def test_options_reach_the_server(connect: Any, server: Any) -> None:
    with connect(server.url, pipeline="street") as client:
        client.predict(
            b"jpeg",
            score_threshold=0.5,
            iou_threshold=0.25,
            max_detections=7,
            class_filter=np.array([1, 0]),
        )
    request = server.requests[-1]
    names = [each.name for each in request.inputs]
    assert names == ["image", "score_threshold", "iou_threshold", "max_detections", "class_filter"]
    raw = list(request.raw_input_contents)
    assert raw[0] == b"jpeg"
    assert [np.frombuffer(each, np.float32).tolist() for each in raw[1:3]] == [[0.5], [0.25]]
    assert [np.frombuffer(each, np.int32).tolist() for each in raw[3:]] == [[7], [1, 0]]


def test_a_file_is_drawn_on_as_it_was_sent(connect: Any, server: Any, tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("L", (96, 64), 128).save(path)
    with connect(server.url, pipeline="street") as client:
        result = client.predict(path)
    assert server.requests[-1].raw_input_contents[0] == path.read_bytes()
    path.unlink()
    drawn = result.draw()
    assert (drawn.size, drawn.mode) == ((96, 64), "RGB")
    assert drawn.getpixel((30, 59)) != (128, 128, 128) == drawn.getpixel((90, 5))


def test_an_array_asks_the_raw_ensemble(connect: Any, server: Any) -> None:
    frame = np.full((64, 96, 3), 9, np.uint8)
    with connect(server.url, pipeline="street") as client:
        assert client.predict(frame).draw().getpixel((90, 5)) == (9, 9, 9)
    assert server.requests[-1].model_name == "street_raw"


def test_a_message_over_grpc_s_own_limit_arrives(
    connect: Any, server: Any, outputs: dict[str, np.ndarray]
) -> None:
    n = 300_000
    many = {name: np.zeros((n, *array.shape[1:]), array.dtype) for name, array in outputs.items()}
    server.answer("street", many | {"image_size": outputs["image_size"]})
    with connect(server.url, pipeline="street") as client:
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
        (grpc.StatusCode.CANCELLED, Unavailable),
        (grpc.StatusCode.DATA_LOSS, ServerError),
    ],
)
def test_a_status_has_its_error(
    connect: Any, server: Any, code: grpc.StatusCode, kind: type[BoxwiseError]
) -> None:
    server.refuse("street", code, "in ensemble 'street', image: empty")
    with connect(server.url, pipeline="street") as client:
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


def test_an_unknown_pipeline_is_named(connect: Any, server: Any) -> None:
    with (
        connect(server.url, pipeline="avenue") as client,
        pytest.raises(UnknownPipeline, match="no pipeline 'avenue'"),
    ):
        client.predict(b"jpeg")


def test_another_contract_is_met_before_images(
    connect: Any, server: Any, info_document: dict[str, Any]
) -> None:
    server.describe("street", info_document | {"contract": 2})
    with (
        connect(server.url, pipeline="street") as client,
        pytest.raises(ContractMismatch, match="version 2"),
    ):
        client.predict(b"jpeg")
    assert [request.model_name for request in server.requests] == ["street_info"]


def test_nobody_there(connect: Any, tmp_path: Path) -> None:
    with connect(NOBODY) as client:
        with pytest.raises(
            Unavailable, match=f"the server at {NOBODY} is not available: connection refused"
        ):
            client.predict(b"jpeg")
        assert not client.ready()


def test_a_slow_answer_is_a_deadline_not_a_hang(connect: Any, server: Any) -> None:
    with connect(server.url, pipeline="street") as client:
        client.predict(b"warm")
        server.delay_s = 2.0
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            client.predict(b"jpeg", timeout_s=0.2)
        assert time.monotonic() - started < 1.5


def test_the_deadline_covers_the_first_call_s_info_too(connect: Any, server: Any) -> None:
    server.delay_s = 0.4
    with (
        connect(server.url, pipeline="street", timeout_s=0.6) as client,
        pytest.raises(DeadlineExceeded),
    ):
        client.predict(b"jpeg")


def test_ready_says_whether_the_pipeline_is_loaded(connect: Any, server: Any) -> None:
    with (
        connect(server.url, pipeline="street") as client,
        connect(server.url, pipeline="avenue") as other,
    ):
        assert client.ready()
        assert not other.ready()


def test_a_client_opens_nothing_until_used_and_nothing_after_close(
    connect: Any, server: Any
) -> None:
    with connect(server.url, pipeline="street") as client:
        assert not getattr(client, "client", client)._pools
        client.predict(b"jpeg")
        client.close()
        client.close()
        with pytest.raises(BoxwiseError, match=r"the client of .* is closed"):
            client.predict(b"jpeg")


def test_an_http_address_is_refused_with_the_one_expected(connect: Any) -> None:
    with pytest.raises(
        InvalidArgument, match="expected HOST:PORT of the gRPC port, such as localhost:8001"
    ):
        connect("http://localhost:8000")


def test_threads_share_a_client(connect: Any, server: Any) -> None:
    with connect(server.url, pipeline="street") as client, ThreadPoolExecutor(8) as pool:
        images = [f"image {i}".encode() for i in range(64)]
        results = list(pool.map(client.predict, images))
    assert {len(result) for result in results} == {2}
    sent = {
        request.raw_input_contents[0]
        for request in server.requests
        if request.model_name == "street"
    }
    assert sent == set(images)


def test_an_open_file_a_memoryview_and_an_image_are_sent(
    connect: Any, server: Any, tmp_path: Path
) -> None:
    path = tmp_path / "grey.png"
    Image.new("L", (96, 64), 128).save(path)
    pixels = np.full((64, 96, 3), 7, np.uint8)
    with connect(server.url, pipeline="street") as client:
        with path.open("rb") as file:
            client.predict(file)
        client.predict(memoryview(path.read_bytes()))
        client.predict(memoryview(pixels))
        client.predict(Image.fromarray(pixels))
        with (
            path.open("r", encoding="latin-1") as text,
            pytest.raises(InvalidImage, match="binary mode"),
        ):
            client.predict(text)
    sent = [request for request in server.requests if request.model_name != "street_info"]
    assert [request.model_name for request in sent] == [
        "street",
        "street",
        "street_raw",
        "street_raw",
    ]
    contents = [request.raw_input_contents[0] for request in sent]
    assert contents == [path.read_bytes()] * 2 + [pixels.tobytes()] * 2


def test_an_image_that_no_message_holds_is_refused_here(connect: Any, server: Any) -> None:
    vast = np.zeros((26_755, 26_755, 3), np.uint8)  # never touched, so never there
    with connect(server.url, pipeline="street", transfer="raw") as client:
        with pytest.raises(InvalidImage, match="more than a message can hold"):
            client.predict(vast)
        assert len(client.predict(b"jpeg")) == 2


def test_transfer_says_how_pixels_travel(connect: Any, server: Any) -> None:
    pixels = np.full((64, 96, 3), 200, np.uint8)
    with connect(server.url, pipeline="street", transfer="encoded") as client:
        client.predict(pixels)
        client.predict(pixels, transfer="raw")
        client.predict(pixels, transfer="auto")  # this machine: raw
    sent = [request for request in server.requests if request.model_name != "street_info"]
    assert [request.model_name for request in sent] == ["street", "street_raw", "street_raw"]
    decoded = np.asarray(Image.open(io.BytesIO(sent[0].raw_input_contents[0])))
    assert np.abs(decoded.astype(int) - 200).max() <= 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"timeout_s": 0}, "timeout_s: expected seconds above 0"),
        ({"transfer": "fax"}, "transfer: expected auto, encoded, raw or shm"),
        ({"connections": 0}, "connections: expected 1 or more"),
        ({"target": []}, "target: an empty list"),
        ({"target": "far.example:8001", "token": "t"}, "has no TLS"),
        ({"metadata": {"Upper": "x"}}, "expected lower case"),
        ({"metadata": {"grpc-timeout": "1S"}}, "not grpc-"),
    ],
)
def test_an_argument_that_can_not_be_used_is_named(
    connect: Any, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(sentence)):
        connect(**options)


def test_secrets_are_in_the_headers_and_nowhere_else(connect: Any, server: Any) -> None:
    secrets = iter(["first", "second", "third", "fourth"])
    with connect(
        server.url,
        pipeline="street",
        token=lambda: next(secrets),
        metadata={"triton-grpc-protocol-infer-key": "k9"},
    ) as client:
        client.predict(b"jpeg")
        server.refuse("street", grpc.StatusCode.UNAUTHENTICATED, "who are you")
        with pytest.raises(AccessDenied) as caught:
            client.predict(b"jpeg")
        shown = f"{client!r} {caught.value} {caught.value!r} {vars(caught.value)}"
    assert not [secret for secret in ("first", "second", "third", "k9") if secret in shown]
    assert [each["authorization"] for each in server.metadata] == [
        "Bearer first",
        "Bearer second",
        "Bearer third",
    ]
    assert {each["triton-grpc-protocol-infer-key"] for each in server.metadata} == {"k9"}


def test_a_client_survives_a_fork(server: Any) -> None:
    with Client(server.url, pipeline="street") as client:
        client.predict(b"jpeg")
        child = os.fork()
        if child == 0:
            os._exit(0 if len(client.predict(b"jpeg")) == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert len(client.predict(b"jpeg")) == 2


def test_a_second_loop_gets_connections_of_its_own(server: Any) -> None:
    client = AsyncClient(server.url, pipeline="street")
    for _ in range(2):
        assert len(asyncio.run(client.predict(b"jpeg"))) == 2


def test_a_call_s_time_is_told(connect: Any, server: Any) -> None:
    with connect(server.url, pipeline="street") as client:
        client.predict(b"jpeg")
        server.delay_s = 0.2
        timings = client.predict(b"jpeg").timings
    assert timings.wait_s >= 0.2 > timings.encode_s + timings.decode_s
    assert timings.attempts == 1


def test_a_submitted_call_is_waited_for_or_cancelled(connect: Any, server: Any) -> None:
    with connect(server.url, pipeline="street") as client:
        assert len(client.submit(b"jpeg").result(5)) == 2
        server.delay_s = 5.0
        pending = client.submit(b"jpeg")
        while len(server.requests) < 3:
            time.sleep(0.01)
        assert not pending.done()
        started = time.monotonic()
        pending.cancel()
        with pytest.raises(Cancelled):
            pending.result(2)
        assert time.monotonic() - started < 1
        server.delay_s = 0.0
        assert len(client.predict(b"jpeg")) == 2


def test_a_cancel_that_comes_too_late_ends_no_other_call(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is there, and its connection not yet handed to the next call."""
    answered = Connection.call

    def call_and_abort(connection: Connection, *args: Any) -> memoryview:
        answer = answered(connection, *args)
        connection.abort()
        return answer

    with Client(server.url, pipeline="street") as client:
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "call", call_and_abort)
            assert len(client.predict(b"jpeg")) == 2
        assert len(client.predict(b"jpeg")) == 2


def test_closing_ends_what_is_under_way(connect: Any, server: Any) -> None:
    with connect(server.url, pipeline="street") as client:
        client.predict(b"jpeg")
        server.delay_s = 5.0
        pending = client.submit(b"jpeg")
        while len(server.requests) < 3:
            time.sleep(0.01)
        client.close()
        with pytest.raises(Cancelled):
            pending.result(2)


def test_a_file_that_the_server_does_not_decode_is_sent_as_pixels(
    connect: Any, server: Any, tmp_path: Path
) -> None:
    image = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    image.save(tmp_path / "a.tiff")
    with connect(server.url, pipeline="street") as client:
        for given in (tmp_path / "a.tiff", (tmp_path / "a.tiff").read_bytes()):
            client.predict(given)
            sent = server.requests[-1]
            assert sent.model_name == "street_raw"
            assert sent.raw_input_contents[0] == image.tobytes()
            client.predict(given, transfer="encoded")
            sent = server.requests[-1]
            assert sent.model_name == "street"
            assert Image.open(io.BytesIO(sent.raw_input_contents[0])).tobytes() == image.tobytes()


def test_what_is_decoded_here_is_held_to_the_server_s_limit(connect: Any, server: Any) -> None:
    """From the header, as soon as the pipeline has told it."""
    file = io.BytesIO()
    Image.new("1", (10_000, 2_501)).save(file, "TIFF")
    with connect(server.url, pipeline="street") as client:
        client.info()
        sent = len(server.requests)
        with pytest.raises(
            InvalidImage, match=r"image: 10000 x 2501 is 25\.0 megapixels; at most 25 are accepted"
        ):
            client.predict(file.getvalue())
        assert len(server.requests) == sent


@pytest.mark.parametrize("method", ["predict", "submit"])
def test_an_unknown_option_is_a_type_error(method: str) -> None:
    with (
        Client("localhost:1") as client,
        pytest.raises(TypeError, match="unexpected option 'treshold'; expected score_threshold"),
    ):
        getattr(client, method)(b"", treshold=0.5)
