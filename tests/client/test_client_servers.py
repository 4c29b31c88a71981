"""Bad days, with servers in this process: stopped, silent, slow, started again."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from contract_support.either import CLIENTS
from contract_support.images import IMAGE

from boxwise import (
    AccessDenied,
    DeadlineExceeded,
    Hedge,
    InvalidImage,
    Overloaded,
    Retry,
    ServerError,
    StageFailed,
    Unavailable,
)
from boxwise._endpoint import Endpoint
from boxwise.testing import FakeServer


@pytest.fixture
def two() -> Iterator[list[FakeServer]]:
    """Two servers that both find nothing."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(FakeServer()) for _ in range(2)]


def images(server: FakeServer) -> int:
    return sum(request.model == "boxwise" for request in server.requests)


def test_requests_go_to_all_servers_in_turn(connect: Any, two: list[FakeServer]) -> None:
    with connect([server.url for server in two]) as client:
        for _ in range(20):
            client.predict(IMAGE)
    assert [images(server) for server in two] == [10, 10]


def test_a_name_with_several_addresses_is_balanced(
    connect: Any, two: list[FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [("127.0.0.1", int(server.url.rpartition(":")[2])) for server in two]
    found = tuple(Endpoint(host, port) for host, port in addresses)
    monkeypatch.setattr("boxwise._client.resolve", lambda name: found)
    monkeypatch.setattr("boxwise._async_client.resolve", lambda name: found)
    with connect("dns:///boxwise-headless:8001") as client:
        for _ in range(20):
            client.predict(IMAGE)
    assert [images(server) for server in two] == [10, 10]


def test_a_name_that_is_not_known_is_unavailable(connect: Any) -> None:
    with (
        connect("dns:///no-such-host.invalid:8001") as client,
        pytest.raises(Unavailable, match="no-such-host"),
    ):
        client.predict(IMAGE)


def test_with_two_servers_the_death_of_one_is_not_noticed(
    connect: Any, two: list[FakeServer]
) -> None:
    with connect([server.url for server in two]) as client, ThreadPoolExecutor(8) as pool:
        ended = threading.Event()

        def load() -> int:
            asked = 0
            while not ended.is_set():
                client.predict(IMAGE)
                asked += 1
            return asked

        loads = [pool.submit(load) for _ in range(8)]
        time.sleep(0.3)
        two[0].stop()
        time.sleep(1.0)
        two[0].start()
        two[0].clear()
        time.sleep(1.0)
        back = images(two[0])
        ended.set()
        assert sum(each.result() for each in loads) > 100
    assert back > 10  # within a second it has its turn again


def test_with_one_server_its_death_is_said_at_once_and_its_return_noticed(connect: Any) -> None:
    server = FakeServer()
    server.start()
    with connect(server.url) as client:
        client.predict(IMAGE)
        server.stop()
        started = time.monotonic()
        with pytest.raises(
            Unavailable, match=f"the server at {server.url} is not available"
        ) as caught:
            client.predict(IMAGE)
        assert time.monotonic() - started < 1.0
        assert (caught.value.code, caught.value.retryable) == ("UNAVAILABLE", True)
        assert not client.live()
        assert not client.ready()
        server.start()
        started = time.monotonic()
        client.predict(IMAGE)
        assert time.monotonic() - started < 1.0
        assert client.live()
        assert client.ready()
    server.stop()


@pytest.fixture
def mute() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    for each in accepted:
        each.close()


@pytest.mark.parametrize("size", [10, 20_000_000])
def test_a_server_that_never_answers_is_a_deadline(connect: Any, mute: str, size: int) -> None:
    with connect(mute, timeout_s=0.3) as client:
        getattr(
            client, "client", client
        )._session.info = FakeServer().info  # so that the image itself is sent
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"did not respond within 0\.3 s"):
            client.predict(bytes(size))
        assert time.monotonic() - started < 1.0


def test_a_silent_server_is_left_out_after_three_deadlines(connect: Any, mute: str) -> None:
    with FakeServer() as server, connect([mute, server.url], timeout_s=0.5) as client:
        failed = 0
        for _ in range(20):
            try:
                client.predict(IMAGE)
            except DeadlineExceeded:
                failed += 1
    assert failed == 3


def test_something_else_on_the_port_is_named(connect: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    with (
        contextlib.closing(listener),
        connect(f"127.0.0.1:{listener.getsockname()[1]}", retry=None) as client,
        pytest.raises(Unavailable, match="expected HTTP/2, got b'HTTP/1"),
    ):
        client.predict(IMAGE)


@pytest.mark.parametrize(
    ("cause", "sent"),
    [
        (Unavailable, 4),
        (Overloaded, 1),
        (AccessDenied, 1),
        (StageFailed, 1),
        (InvalidImage, 1),
        (ServerError, 1),
    ],
)
def test_only_what_may_help_is_tried_again(connect: Any, cause: Any, sent: int) -> None:
    with FakeServer() as server, connect(server.url) as client:
        client.info()
        server.fail(cause, times=10)
        with pytest.raises(cause) as caught:
            client.predict(IMAGE)
        assert images(server) == sent
        assert type(caught.value) is cause
        assert caught.value.request_id == server.requests[-1].request_id
        assert caught.value.pipeline == "boxwise"


def test_a_dead_stage_is_avoided_where_there_is_another_server(
    connect: Any, two: list[FakeServer]
) -> None:
    with connect([server.url for server in two]) as client:
        client.info()
        two[0].fail(StageFailed, times=100)
        for _ in range(20):
            client.predict(IMAGE)
    assert images(two[0]) <= 2


def test_a_failure_that_passes_is_not_seen(connect: Any) -> None:
    with FakeServer() as server, connect(server.url) as client:
        client.info()
        server.fail(Unavailable, times=2)
        assert client.predict(IMAGE).timings.attempts == 3


def test_retries_stay_within_the_deadline_and_the_budget(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A random try may meet the deadline itself.
    monkeypatch.setattr("boxwise._policy.random.random", lambda: 1.0)
    slow = Retry(attempts=1000, backoff_s=0.3, max_backoff_s=0.3)
    with FakeServer() as server, connect(server.url, retry=slow, timeout_s=0.5) as client:
        client.info()
        server.fail(Unavailable, times=10_000)
        started = time.monotonic()
        with pytest.raises(Unavailable):
            client.predict(IMAGE)
        assert time.monotonic() - started < 0.7
    with FakeServer() as server, connect(server.url, retry=Retry(backoff_s=0.0)) as client:
        client.info()
        server.fail(Unavailable, times=10_000)
        for _ in range(100):
            with pytest.raises(Unavailable):
                client.predict(IMAGE)
        assert images(server) <= 100 + 10 + 11


def test_without_retries_a_request_is_sent_once(connect: Any) -> None:
    with FakeServer() as server, connect(server.url, retry=None) as client:
        client.info()
        server.fail(Unavailable)
        with pytest.raises(Unavailable):
            client.predict(IMAGE)
        assert images(server) == 1


def test_a_second_server_is_asked_when_the_first_is_slow(
    connect: Any, two: list[FakeServer]
) -> None:
    with connect([server.url for server in two], hedge=Hedge(percentile=90, min_s=0.05)) as client:
        for _ in range(40):
            client.predict(IMAGE)
        two[0].delay_s = 3.0
        started = time.monotonic()
        attempts = [client.predict(IMAGE).timings.attempts for _ in range(6)]
        assert time.monotonic() - started < 2.0
    assert sorted(attempts) == [1, 1, 1, 2, 2, 2]


def test_hedges_spend_the_budget_of_retries(connect: Any, two: list[FakeServer]) -> None:
    with connect([server.url for server in two], hedge=Hedge(percentile=40, min_s=0.0)) as client:
        two[0].delay_s = 0.05
        attempts = sum(client.predict(IMAGE).timings.attempts for _ in range(150))
    assert 150 < attempts <= 150 + 10 + 16


def test_connections_are_a_limit_on_what_is_under_way() -> None:
    with FakeServer() as server, CLIENTS["threads"](server.url, connections=2) as client:
        client.info()
        server.delay_s = 0.1
        with ThreadPoolExecutor(6) as pool:
            started = time.monotonic()
            list(pool.map(client.predict, [IMAGE] * 6))
        assert time.monotonic() - started >= 0.3
        with ThreadPoolExecutor(3) as pool:
            server.delay_s = 1.0
            calls = [pool.submit(client.predict, IMAGE, timeout_s=0.4) for _ in range(3)]
            failed = [type(call.exception()) for call in calls]
        # The last one may be given a connection that it has no time left to open.
        assert set(failed) <= {DeadlineExceeded, Unavailable}
        assert failed.count(DeadlineExceeded) >= 2
