"""What `boxwise.testing` promises the tests of applications."""

from __future__ import annotations

import dataclasses
import io
import socket

import pytest
from PIL import Image

from boxwise import (
    Client,
    ContractMismatch,
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    ServerError,
)
from boxwise.testing import FakeServer


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_it_finds_what_it_is_told_to_find() -> None:
    with FakeServer(
        labels=["cat", "cup"], classifiers={"drink": ["mug", "espresso"]}, top_k=2
    ) as server:
        server.find("cat", (0, 0, 5, 5), 0.5)
        server.find("cup", (10, 20, 40, 60), 0.75, drink={"mug": 0.125, "espresso": 0.875})
        with Client(server.url) as client:
            cup, cat = client.predict(png(96, 64))
    assert (cup.class_name, cup.xyxy, cup.confidence) == ("cup", (10.0, 20.0, 40.0, 60.0), 0.75)
    assert [(label.name, label.score) for label in cup.labels["drink"]] == [
        ("espresso", 0.875),
        ("mug", 0.125),
    ]
    assert cat.labels["drink"] == ()


def test_it_delays_fails_and_forgets() -> None:
    with FakeServer(pipeline="street") as server, Client(server.url, pipeline="street") as client:
        server.find("cat", (0, 0, 5, 5), 0.5)
        client.predict(png(8, 8), score_threshold=0.1)
        assert [request.model for request in server.requests] == ["street_info", "street"]
        assert server.requests[1].inputs["score_threshold"].tolist() == [pytest.approx(0.1)]
        server.fail(Overloaded, times=1)
        server.fail(("DATA_LOSS", "the disk"))
        with pytest.raises(Overloaded):
            client.predict(png(8, 8))
        with pytest.raises(ServerError, match="DATA_LOSS: the disk"):
            client.predict(png(8, 8))
        server.delay_s = 1.0
        with pytest.raises(DeadlineExceeded):
            client.predict(png(8, 8), timeout_s=0.1)
        server.delay_s = 0.0
        server.clear()
        assert len(client.predict(png(8, 8))) == 0
        assert len(server.requests) == 1


def test_what_it_can_not_know_is_refused() -> None:
    server = FakeServer()
    with pytest.raises(ValueError, match="no label 'dog'"):
        server.find("dog", (0, 0, 1, 1), 0.5)
    with pytest.raises(ValueError, match="no classifier 'drink'"):
        server.find("cat", (0, 0, 1, 1), 0.5, drink={"mug": 1.0})
    with pytest.raises(ValueError, match="a server cannot cause InvalidArgument"):
        server.fail(InvalidArgument)


def test_another_contract_is_named() -> None:
    info = dataclasses.replace(FakeServer().info, contract=2)
    words = "has version 2 of the tensor contract, and this client version 1"
    with (
        FakeServer(info=info) as server,
        Client(server.url) as client,
        pytest.raises(ContractMismatch, match=words),
    ):
        client.predict(png(8, 8))


def test_a_port_that_ipv4_has_taken_is_refused() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(RuntimeError, match="is taken"),
    ):
        FakeServer(
            port=other.getsockname()[1]
        ).start()  # not left to IPv6 alone, whose clients would reach `other`


def test_its_port_stays_when_it_is_started_again() -> None:
    server = FakeServer()
    with server:
        url = server.url
        with pytest.raises(RuntimeError, match="is taken"):
            FakeServer(port=int(url.rpartition(":")[2])).start()
    with server:
        assert server.url == url
