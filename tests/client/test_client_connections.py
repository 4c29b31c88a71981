"""Connections to servers that limit, refuse and end calls,
or answer with what is no gRPC response.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from contract_support.either import CLIENTS
from contract_support.http2 import (
    DATA,
    HEADERS,
    Asked,
    Link,
    ScriptedHttp2,
    answer,
    frame,
    goaway,
    headers,
    nothing_found,
    reset,
    settings,
)
from contract_support.images import IMAGE

from boxwise import (
    AsyncClient,
    BoxwiseError,
    DeadlineExceeded,
    Hedge,
    PipelineInfo,
    Retry,
    ServerError,
    Unavailable,
    UnknownPipeline,
)
from boxwise.testing import FakeServer

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

INFO: PipelineInfo = FakeServer().info
MESSAGE = nothing_found()
REFUSED_STREAM = 7


def found(asked: Asked) -> bytes:
    return answer(asked.stream, MESSAGE)


def session(client: Any) -> Any:
    return getattr(client, "client", client)._session


def informed(client: Any) -> Any:
    """A client that need not ask for `info`."""
    session(client).info = INFO
    return client


def burst(client: Any, calls: int) -> list[Any]:
    """So many calls at once: the result or the error of each."""

    def call(_: int) -> Any:
        try:
            return client.predict(IMAGE)
        except BoxwiseError as error:
            return error

    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(call, range(calls)))


def errors(outcomes: list[Any]) -> list[BoxwiseError]:
    return [each for each in outcomes if isinstance(each, BoxwiseError)]


def test_no_call_is_sent_before_the_server_s_settings(connect: Any) -> None:
    def late(link: Link) -> None:
        threading.Timer(0.2, link.settle, kwargs={"max_streams": 3}).start()

    with ScriptedHttp2(found, late) as server, informed(connect(server.url)) as client:
        assert errors(burst(client, 20)) == []
        assert sum(link.begun for link in server.links) == 20
        assert [link.early for link in server.links] == [0] * len(server.links)


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_server_s_limit_is_kept_to_and_no_call_is_lost(connect: Any, limit: int) -> None:
    with (
        ScriptedHttp2(_a_little_later, lambda link: link.settle(max_streams=limit)) as server,
        informed(connect(server.url, connections=3, retry=None)) as client,
    ):
        assert errors(burst(client, 40)) == []
        assert len(server.links) <= 3
        assert max(link.most for link in server.links) <= limit


def _a_little_later(asked: Asked) -> None:
    threading.Timer(0.01, asked.link.send, [answer(asked.stream, MESSAGE), 1]).start()


def test_calls_queue_while_the_server_allows_none(connect: Any) -> None:
    def none_yet(link: Link) -> None:
        link.settle(max_streams=0)
        threading.Timer(0.3, link.send, [settings(max_streams=1)]).start()

    with (
        ScriptedHttp2(found, none_yet) as server,
        informed(connect(server.url, retry=None)) as client,
    ):
        assert errors(burst(client, 10)) == []
        assert max(link.most for link in server.links) == 1


def test_a_server_that_never_allows_a_call_is_a_deadline_and_not_asked_for_more_connections(
    connect: Any,
) -> None:
    with (
        ScriptedHttp2(found, lambda link: link.settle(max_streams=0)) as server,
        informed(connect(server.url, timeout_s=0.3)) as client,
    ):
        assert {type(each) for each in burst(client, 5)} == {DeadlineExceeded}
        assert server.calls == 0
        assert isinstance(client, CLIENTS["threads"]) or len(server.links) == 1


def test_calls_in_a_queue_go_in_their_order() -> None:
    order: list[int] = []

    async def main() -> None:
        async with informed(AsyncClient(server.url, connections=1)) as client:

            async def call(number: int) -> None:
                await client.predict(IMAGE)
                order.append(number)

            await asyncio.gather(*map(call, range(30)))

    with ScriptedHttp2(found, lambda link: link.settle(max_streams=1)) as server:
        asyncio.run(main())
    assert order == list(range(30))


def test_a_queued_call_that_is_cancelled_gives_its_turn_to_the_next() -> None:
    async def main() -> list[Any]:
        async with informed(AsyncClient(server.url, connections=1, timeout_s=5)) as client:
            calls = [client.submit(IMAGE) for _ in range(12)]
            await asyncio.sleep(0.05)
            for call in calls[1::2]:
                call.cancel()
            return await asyncio.gather(*calls, return_exceptions=True)

    with ScriptedHttp2(_a_little_later, lambda link: link.settle(max_streams=1)) as server:
        outcomes = asyncio.run(main())
    assert [type(each).__name__ for each in outcomes[::2]] == ["Result"] * 6


def test_a_refused_call_is_sent_once_more_without_a_budget(connect: Any) -> None:
    def respond(asked: Asked) -> bytes:
        return reset(asked.stream, REFUSED_STREAM) if asked.number == 0 else found(asked)

    with ScriptedHttp2(respond) as server, informed(connect(server.url, retry=None)) as client:
        assert client.predict(IMAGE).timings.attempts == 2
        assert session(client)._budget._tokens >= 10.0
    assert server.calls == 2


def test_a_server_that_refuses_every_call_is_not_asked_for_ever(connect: Any) -> None:
    with (
        ScriptedHttp2(lambda asked: reset(asked.stream, REFUSED_STREAM)) as server,
        informed(connect(server.url, retry=Retry(attempts=3, backoff_s=0.0))) as client,
        pytest.raises(Unavailable, match="HTTP/2 error 7"),
    ):
        client.predict(IMAGE)
    assert server.calls == 1 + 3


def test_goaway_on_every_second_call_is_not_noticed(connect: Any) -> None:
    def respond(asked: Asked) -> bytes:
        return found(asked) if asked.nth == 0 else goaway(last=asked.stream - 2)

    with ScriptedHttp2(respond) as server, informed(connect(server.url, retry=None)) as client:
        for _ in range(10):
            client.predict(IMAGE)
    assert len(server.links) == 10


def test_calls_that_queue_on_a_connection_that_ends_go_to_the_next(connect: Any) -> None:
    def respond(asked: Asked) -> bytes:
        return found(asked) + (goaway(asked.stream) if asked.nth == 4 else b"")

    with (
        ScriptedHttp2(respond, lambda link: link.settle(max_streams=1)) as server,
        informed(connect(server.url, connections=1, retry=None)) as client,
    ):
        assert errors(burst(client, 20)) == []
    assert server.calls == 20


def test_a_connection_that_ends_is_closed_after_its_last_call(connect: Any) -> None:
    closed = threading.Event()

    def respond(asked: Asked) -> bytes:
        def wait_for_the_end() -> None:
            while asked.link._socket.recv(4096, socket.MSG_PEEK):
                time.sleep(0.01)
            closed.set()

        if asked.number == 0:
            threading.Thread(target=wait_for_the_end, daemon=True).start()
            return goaway(asked.stream) + found(asked)
        return found(asked)

    with ScriptedHttp2(respond) as server, informed(connect(server.url)) as client:
        client.predict(IMAGE)
        client.predict(IMAGE)
        closed.wait(5)
        assert len(server.links) == 2


def test_a_server_that_ends_every_connection_at_once_is_unavailable(connect: Any) -> None:
    with (
        ScriptedHttp2(found, lambda link: link.send(settings() + goaway(0))) as server,
        informed(connect(server.url, retry=None)) as client,
        pytest.raises(Unavailable),
    ):
        client.predict(IMAGE)
    assert server.calls == 0
    assert len(server.links) == 2


def test_a_server_that_allows_no_call_and_hangs_up_is_not_called_again_and_again(
    connect: Any,
) -> None:
    def greet(link: Link) -> None:
        link.settle(max_streams=0)
        threading.Timer(0.02, link.close).start()

    with ScriptedHttp2(found, greet) as server, informed(connect(server.url, retry=None)) as client:
        assert {type(each) for each in burst(client, 5)} == {Unavailable}
        assert len(server.links) <= 5


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_frame": 0}, "a largest frame of 0 bytes: expected 16384 to 16777215"),
        ({"max_frame": 2**24}, "a largest frame of 16777216 bytes"),
        ({"window": 2**31}, "an initial window of 2147483648 bytes"),
    ],
)
def test_settings_out_of_range_end_the_connection(
    connect: Any, values: dict[str, int], said: str
) -> None:
    with (
        ScriptedHttp2(found, lambda link: link.send(settings(**values))) as server,
        informed(connect(server.url, retry=None)) as client,
        pytest.raises(Unavailable, match=said),
    ):
        client.predict(IMAGE)


def _status(value: str) -> Callable[[Asked], bytes]:
    return lambda asked: headers(
        (":status", "200"), ("grpc-status", value), flags=5, stream=asked.stream
    )


def _page(status: str) -> Callable[[Asked], bytes]:
    def respond(asked: Asked) -> bytes:
        page = b"<html><head><title>Welcome to nginx!</title></head></html>"
        begin = headers((":status", status), ("content-type", "text/html"), stream=asked.stream)
        return begin + frame(DATA, 1, asked.stream, page)

    return respond


def _compressed(asked: Asked) -> bytes:
    begin = headers(
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-encoding", "gzip"),
        stream=asked.stream,
    )
    body = frame(DATA, 0, asked.stream, b"\1" + struct.pack(">I", 3) + b"abc")
    return begin + body + headers(("grpc-status", "0"), flags=5, stream=asked.stream)


@pytest.mark.parametrize(
    ("odd", "kind", "said"),
    [
        (_status("\N{SUPERSCRIPT TWO}"), ServerError, "expected 0 to 16"),
        (_status("five"), ServerError, "grpc-status 'five': expected 0 to 16"),
        (_page("502"), Unavailable, "HTTP status 502: Welcome to nginx!"),
        (_page("200"), ServerError, "HTTP status 200: Welcome to nginx!"),
        (_compressed, ServerError, "grpc-encoding 'gzip'"),
        (lambda asked: reset(asked.stream, 2), ServerError, "HTTP/2 error 2"),
    ],
)
def test_an_odd_response_ends_its_call_alone(
    connect: Any, odd: Callable[[Asked], bytes], kind: type[BoxwiseError], said: str
) -> None:
    """Four calls are in flight when the second is answered."""
    together = threading.Barrier(4)

    def respond(asked: Asked) -> None:
        def later() -> None:
            together.wait(10)
            asked.link.send(odd(asked) if asked.number == 1 else found(asked), ends=1)

        threading.Thread(target=later, daemon=True).start()

    with ScriptedHttp2(respond) as server, informed(connect(server.url, retry=None)) as client:
        (error,) = errors(burst(client, 4))
        assert type(error) is kind
        assert said in str(error)
        before = len(server.links)
        if kind is ServerError and not isinstance(client, CLIENTS["threads"]):
            assert before == 1


def test_a_header_that_is_not_utf_8_costs_nothing(connect: Any) -> None:
    def respond(asked: Asked) -> bytes:
        latin = b"\x10\x06x-city\x07Z\xfcrich!"
        begin = frame(HEADERS, 4, asked.stream, b"\x88" + latin)
        return begin + answer(asked.stream, MESSAGE).removeprefix(
            headers((":status", "200"), stream=asked.stream)
        )

    with ScriptedHttp2(respond) as server, informed(connect(server.url, retry=None)) as client:
        assert len(client.predict(IMAGE)) == 0


def test_a_hedge_does_not_wait_for_a_server_without_a_word(connect: Any) -> None:
    with (
        ScriptedHttp2(found, lambda link: None) as mute,
        ScriptedHttp2(found) as server,
        informed(connect([mute.url, server.url], hedge=Hedge(min_s=0.01), timeout_s=5)) as client,
    ):
        for _ in range(50):
            session(client)._latencies.add(0.001)
        for _ in range(2):  # each server's turn
            assert client.predict(IMAGE, timeout_s=5).timings.wait_s < 4


def test_connections_that_ended_while_no_loop_ran_are_not_used() -> None:
    with ScriptedHttp2(found) as server, asyncio.Runner() as runner:
        client = informed(AsyncClient(server.url, retry=None))

        async def calls(number: int) -> None:
            await asyncio.gather(*(client.predict(IMAGE) for _ in range(number)))

        runner.run(calls(1))
        for link in server.links:
            link.close()
        time.sleep(0.1)
        runner.run(calls(20))
        runner.run(client.close())
    assert len(server.links) == 2


@pytest.mark.parametrize("size", [10, 12_000_000])
def test_asyncio_prints_nothing_when_connections_end(
    size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """While much is still to be sent, asyncio reports the end only after it; an abort then printed
    a traceback.
    """
    complaints: list[dict[str, Any]] = []

    def hang_up(link: Link) -> None:
        link.settle()
        time.sleep(0.2)  # nothing is read before the end was sent
        link._socket.shutdown(socket.SHUT_WR)

    async def main() -> list[Any]:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        async with informed(AsyncClient(server.url, retry=None, timeout_s=5)) as client:
            calls = [client.predict(bytes(size)) for _ in range(20)]
            return await asyncio.gather(*calls, return_exceptions=True)

    with (
        ScriptedHttp2(lambda asked: None, hang_up) as server,
        caplog.at_level(logging.DEBUG, "asyncio"),
    ):
        outcomes = asyncio.run(main())
    assert {type(each) for each in outcomes} == {Unavailable}
    assert complaints == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_server_does_every_call_ends(connect: Any, seed: int) -> None:
    rng, calm = random.Random(seed), threading.Event()

    def respond(asked: Asked) -> bytes | None:
        if calm.is_set() or (fate := rng.random()) > 0.4:
            return found(asked)
        if fate > 0.3:
            return _a_little_later(asked)
        if fate > 0.05:
            odd = (
                reset(asked.stream, REFUSED_STREAM),
                reset(asked.stream, 2),
                goaway(max(0, asked.stream - 2)),
                _page("502")(asked),
            )
            return rng.choice(odd)
        return asked.link.close()

    def greet(link: Link) -> None:
        link.settle(max_streams=1 if calm.is_set() else rng.choice((0, 1, 5, 100)))
        if not calm.is_set():
            threading.Timer(0.05, link.send, [settings(max_streams=rng.choice((1, 3)))]).start()

    with (
        ScriptedHttp2(respond, greet) as server,
        informed(connect(server.url, timeout_s=20)) as client,
    ):
        outcomes = burst(client, 60)
        assert [each for each in outcomes if isinstance(each, DeadlineExceeded)] == []
        calm.set()
        assert errors([*burst(client, 10), *burst(client, 10)][10:]) == []


def infos(server: FakeServer) -> int:
    return sum(request.model == "boxwise_info" for request in server.requests)


def test_info_is_asked_for_once_however_many_wait_for_it(connect: Any) -> None:
    with FakeServer() as server, connect(server.url) as client:
        server.delay_s = 0.1
        assert errors(burst(client, 30)) == []
        assert infos(server) == 1
        with connect(server.url) as other, ThreadPoolExecutor(10) as pool:
            assert len(set(map(id, pool.map(lambda _: other.info(), range(10))))) == 1
        assert infos(server) == 2


def test_who_waits_for_info_shares_its_failure(connect: Any) -> None:
    with FakeServer() as server, connect(server.url, pipeline="other") as client:
        server.delay_s = 0.2
        outcomes = burst(client, 10)
        assert {type(each) for each in outcomes} == {UnknownPipeline}
        assert len(set(map(id, outcomes))) == 10
        assert len({str(each) for each in outcomes}) == 1
        assert len(server.requests) == 1


def test_who_waits_for_info_outlives_one_that_had_less_time(connect: Any) -> None:
    with FakeServer() as server, connect(server.url) as client, ThreadPoolExecutor(2) as pool:
        server.delay_s = 0.4
        hasty = pool.submit(client.info, timeout_s=0.2)
        time.sleep(0.05)
        patient = pool.submit(client.info, timeout_s=5)
        assert isinstance(hasty.exception(), DeadlineExceeded)
        assert patient.result().pipeline == "boxwise"


def test_who_waits_for_info_has_a_deadline_and_can_be_cancelled(connect: Any) -> None:
    with FakeServer() as server, connect(server.url) as client, ThreadPoolExecutor(1) as pool:
        server.delay_s = 2.0
        first = pool.submit(client.info)
        while infos(server) == 0:
            time.sleep(0.01)
        with pytest.raises(DeadlineExceeded, match=r"did not respond within 0\.1 s"):
            client.predict(IMAGE, timeout_s=0.1)
        waiting = client.submit(IMAGE)
        time.sleep(0.05)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(Exception, match="cancelled"):
            waiting.result(0.5)
        assert first.result().pipeline == "boxwise"
        assert infos(server) == 1
