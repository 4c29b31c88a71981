"""Many images: in order or as they complete, a few at a time, and no failure stops the rest."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from contract_support.images import IMAGE

from boxwise import AsyncClient, InvalidArgument, InvalidImage, Outcome, Overloaded, Unavailable
from boxwise.testing import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def test_nothing_in_nothing_out(connect: Any, server: FakeServer) -> None:
    with connect(server.url) as client:
        assert list(client.predict_many([])) == []
    assert server.requests == []


def test_outcomes_come_in_order_each_with_its_result_or_error(
    connect: Any, server: FakeServer
) -> None:
    images = [IMAGE, b"no image", IMAGE, "/no/such/file", IMAGE] * 5
    progress: list[tuple[int, int]] = []
    with connect(server.url) as client:
        outcomes = list(
            client.predict_many(
                images, concurrency=3, on_progress=lambda *counts: progress.append(counts)
            )
        )
    assert [outcome.index for outcome in outcomes] == list(range(25))
    assert [outcome.image for outcome in outcomes] == images
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, False, True] * 5
    for outcome in outcomes:
        assert (outcome.result is None) == isinstance(outcome.error, InvalidImage)
    assert len(outcomes[0].unwrap()) == 0
    with pytest.raises(InvalidImage):
        outcomes[1].unwrap()
    assert [done for done, _ in progress] == list(range(1, 26))
    assert progress[-1] == (25, 10)


def test_as_completed_they_do_not_wait_for_each_other(connect: Any, server: FakeServer) -> None:
    with connect(server.url) as client:
        client.info()
        slow = threading.Event()

        def images() -> Iterator[bytes]:
            server.delay_s = 1.0
            yield IMAGE
            while len(server.requests) < 2:
                time.sleep(0.01)
            time.sleep(0.1)
            server.delay_s = 0.0
            for _ in range(5):
                yield IMAGE
            slow.set()

        indices = [
            outcome.index for outcome in client.predict_many(images(), concurrency=4, ordered=False)
        ]
    assert sorted(indices) == list(range(6))
    assert indices[-1] == 0 or indices.index(0) > 0
    assert slow.is_set()


def test_images_are_taken_as_they_are_needed(connect: Any, server: FakeServer) -> None:
    taken = 0

    def images() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield IMAGE

    with connect(server.url) as client:
        outcomes = client.predict_many(images(), concurrency=3)
        for handed_out in range(1, 50):
            next(outcomes)
            assert taken <= handed_out + 2 * 3 + 1
        outcomes.close()


def test_no_more_are_in_flight_than_asked_for(connect: Any, server: FakeServer) -> None:
    flying, most = 0, 0
    lock, answer = threading.Lock(), server._predict

    def count(inputs: Any) -> Any:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        time.sleep(0.01)
        with lock:
            flying -= 1
        return answer(inputs)

    server._predict = count  # type: ignore[method-assign]
    with connect(server.url) as client:
        assert len(list(client.predict_many([IMAGE] * 40, concurrency=4))) == 40
    assert most == 4


def test_leaving_early_ends_what_is_under_way(connect: Any, server: FakeServer) -> None:
    with connect(server.url) as client:
        client.info()
        outcomes = client.predict_many([IMAGE] * 100, concurrency=2)
        next(outcomes)
        server.delay_s = 5.0
        started = time.monotonic()
        outcomes.close()
    assert time.monotonic() - started < 2.0
    assert len(server.requests) <= 1 + 1 + 4


def test_an_iterable_that_breaks_raises_after_what_came_before(
    connect: Any, server: FakeServer
) -> None:
    def images() -> Iterator[bytes]:
        yield IMAGE
        yield IMAGE
        raise RuntimeError("the disk is gone")

    seen: list[Outcome] = []
    with connect(server.url) as client, pytest.raises(RuntimeError, match="the disk is gone"):  # noqa: PT012
        for outcome in client.predict_many(images()):
            seen.append(outcome)  # noqa: PERF402
    assert [outcome.index for outcome in seen] == [0, 1]


def test_options_hold_for_all(connect: Any, server: FakeServer) -> None:
    server.find("cat", (0, 0, 1, 1), 0.5)
    with connect(server.url) as client:
        found = [
            len(each.unwrap()) for each in client.predict_many([IMAGE] * 3, score_threshold=0.6)
        ]
        assert found == [0, 0, 0]
        server.fail(Overloaded)
        (outcome,) = client.predict_many([IMAGE])
        assert isinstance(outcome.error, Overloaded)
        with pytest.raises(InvalidArgument, match="concurrency: expected 1 or more, got 0"):
            list(client.predict_many([], concurrency=0))


def test_a_stream_that_is_unplugged_halfway_loses_nothing(connect: Any, server: FakeServer) -> None:
    """What was finished is delivered, each of the rest carries its error, none is sent twice."""
    images, before = 3000, 500
    with connect(server.url) as client:
        outcomes = []
        for outcome in client.predict_many([IMAGE] * images, concurrency=16):
            outcomes.append(outcome)
            if len(outcomes) == before:
                server.stop()
    assert [outcome.index for outcome in outcomes] == list(range(images))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    assert {type(outcome.error) for outcome in failed} == {Unavailable}
    answered = images - len(failed)
    assert answered >= before
    asked = [request.request_id for request in server.requests if request.model == "boxwise"]
    assert len(asked) == len(set(asked))
    assert answered <= len(asked) <= answered + 16


_ENDLESS = """
import sys
from boxwise import Client
with Client(sys.argv[1], timeout_s=60) as client:
    client.info()
    print("ready", flush=True)
    for outcome in client.predict_many(iter(lambda: b"image", None)):
        pass
"""


def test_ctrl_c_ends_it_at_once(server: FakeServer) -> None:
    command = [sys.executable, "-c", _ENDLESS, server.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    server.delay_s = 3.0
    while len(server.requests) < 20:
        time.sleep(0.01)
    time.sleep(0.2)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - started < 2.0
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_asynchronous_iterables_are_taken_too(server: FakeServer) -> None:
    import asyncio

    async def images() -> AsyncIterator[bytes]:
        for _ in range(5):
            await asyncio.sleep(0)
            yield IMAGE

    async def main() -> list[int]:
        async with AsyncClient(server.url) as client:
            return [outcome.index async for outcome in client.predict_many(images())]

    assert asyncio.run(main()) == list(range(5))
