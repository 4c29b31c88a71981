"""Load is what it says: so many in flight, so long, and errors are not swallowed."""

import threading
import time

import pytest

from boxwise_benchmarks.measure import Run, closed_loop, machine


def test_it_keeps_so_many_in_flight() -> None:
    in_flight, most, lock = 0, 0, threading.Lock()

    def call(_: bytes) -> None:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        time.sleep(0.005)
        with lock:
            in_flight -= 1

    run = closed_loop(call, [b""], 3, requests=30)
    assert most == 3
    assert len(run.latencies) == 30
    assert min(run.latencies) >= 0.005


def test_images_take_turns() -> None:
    sent: list[bytes] = []
    closed_loop(sent.append, [b"a", b"b", b"c"], 1, requests=7)
    assert sent == [b"a", b"b", b"c", b"a", b"b", b"c", b"a"]


def test_an_error_ends_the_run() -> None:
    def call(_: bytes) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        closed_loop(call, [b""], 4, seconds=60)


def test_rate_and_median() -> None:
    run = Run(2.0, [0.1, 0.3, 0.2, 0.2])
    assert run.rate == 2
    assert run.median_ms == pytest.approx(200)


def test_the_machine_is_named_with_its_versions() -> None:
    text = machine()
    assert "cores" in text
    assert "onnxruntime 1." in text
