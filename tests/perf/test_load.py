"""Load is what it says: when requests are sent, what is counted, and when a run is void. No server
here.
"""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_perf.load import (
    SENDERS,
    Closed,
    LoadError,
    Open,
    Samples,
    arrivals,
    drive,
    void_reason,
)


def samples(
    scheduled: list[float], sent: list[float], done: list[float], unsent: int = 0
) -> Samples:
    n = len(sent)
    return Samples(
        np.array(scheduled),
        np.array(sent),
        np.array(done),
        np.ones(n, np.int64),
        ("",) * n,
        {},
        unsent,
    )


def test_fixed_arrivals() -> None:
    np.testing.assert_allclose(arrivals(Open(4, "fixed"), 1.0, seed=0), [0, 0.25, 0.5, 0.75])


@given(st.floats(0.5, 500), st.floats(0.1, 20), st.integers(0, 100))
def test_poisson_arrivals_are_seeded_and_inside(rate: float, seconds: float, seed: int) -> None:
    times = arrivals(Open(rate), seconds, seed)
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times < seconds)).all()
    np.testing.assert_array_equal(times, arrivals(Open(rate), seconds, seed))


def test_poisson_arrivals_have_their_rate_and_its_spread() -> None:
    counts = [len(arrivals(Open(50), 2.0, seed)) for seed in range(400)]
    assert np.mean(counts) == pytest.approx(100, abs=2)
    assert np.var(counts) == pytest.approx(100, rel=0.25)


def test_a_closed_loop_keeps_so_many_in_flight_and_takes_turns() -> None:
    sent, in_flight, most, lock = [], 0, 0, threading.Lock()

    def call(image: bytes) -> int:
        nonlocal in_flight, most
        with lock:
            sent.append(image)
            in_flight += 1
            most = max(most, in_flight)
        time.sleep(0.002)
        with lock:
            in_flight -= 1
        return 3

    found = drive(call, [b"a", b"b"], Closed(3), 0.1, first=1)
    assert most == 3 == found.most_in_flight
    assert sent[0] == b"b"
    assert (found.lag == 0).all()
    assert (found.boxes == 3).all()
    assert found.answered.all()


@pytest.mark.parametrize("load", [Closed(2), Open(100)])
def test_a_load_that_is_stopped_begins_no_more(load: Closed | Open) -> None:
    stop = threading.Event()
    began = time.perf_counter()
    threading.Timer(0.2, stop.set).start()
    found = drive(lambda _: time.sleep(0.01) or 1, [b"a"], load, 60.0, stop=stop)
    assert time.perf_counter() - began < 5
    assert found.answered.all()
    assert found.sent.max() < 1


def test_an_open_loop_charges_a_stall_to_all_who_waited() -> None:
    """One sender's request takes 0.2 s; those of other senders go out meanwhile, at their time."""
    stalled = threading.Event()

    def call(_: bytes) -> int:
        if not stalled.is_set():
            stalled.set()
            time.sleep(0.2)
        return 0

    found = drive(call, [b""], Open(50, "fixed"), 0.4)
    assert len(found.sent) == 20
    assert found.unsent == 0
    np.testing.assert_allclose(found.scheduled, np.arange(20) / 50)
    assert (found.lag >= 0).all()
    assert (found.latencies >= found.done - found.sent).all()
    assert found.latencies[0] >= 0.2


def test_failures_are_counted_by_cause_and_do_not_end_a_run() -> None:
    turn = iter(range(1000))

    def call(_: bytes) -> int:
        if next(turn) % 2:
            raise ValueError("odd")
        return 1

    found = drive(call, [b""], Open(100, "fixed"), 0.2)
    assert found.errors.count("ValueError") == 10
    assert found.messages == {"ValueError": "odd"}
    assert found.answered.sum() == 10


@pytest.mark.parametrize("load", [Closed(2), Open(1000)])
def test_where_every_request_fails_the_run_ends_with_the_error(load: Closed | Open) -> None:
    def call(_: bytes) -> int:
        raise ValueError("nobody is there")

    with pytest.raises(LoadError, match="nobody is there"):
        drive(call, [b""], load, 60)


def test_what_no_sender_was_free_for_is_counted() -> None:
    """More arrive at once than there are senders,
    and none of those is free again within the grace.
    """

    def call(_: bytes) -> int:
        time.sleep(1.2)
        return 0

    found = drive(call, [b""], Open(2000, "fixed"), 0.1)
    assert len(found.sent) == SENDERS
    assert found.unsent == 200 - SENDERS
    assert found.most_in_flight == SENDERS


def test_no_request_at_all() -> None:
    with pytest.raises(LoadError, match="make --duration longer"):
        drive(lambda _: 0, [b""], Open(0.1, "fixed"), 0.01)


def test_what_is_left_after_the_warm_up() -> None:
    left = samples([0, 1, 2], [0, 1, 2], [1, 2, 3]).since(1)
    assert left.scheduled.tolist() == [1, 2]
    assert len(left.errors) == 2


@pytest.mark.parametrize(
    ("sent", "done", "expected"),
    [
        ([], [], 0),
        ([0], [1], 1),
        ([0, 1], [1, 2], 1),
        ([0, 0.5], [1, 2], 2),
        ([0, 0, 0], [1, 1, 1], 3),
    ],
)
def test_most_in_flight(sent: list[float], done: list[float], expected: int) -> None:
    assert samples(sent, sent, done).most_in_flight == expected


SECOND = [float(i) for i in range(100)]
GOOD = samples(SECOND, SECOND, [s + 0.01 for s in SECOND])
LATE = samples(SECOND, [s + 0.008 for s in SECOND], [s + 0.02 for s in SECOND])


@pytest.mark.parametrize(
    ("found", "load", "cpu", "word"),
    [
        (GOOD, Open(1), 0.1, None),
        (GOOD, Closed(1), 0.1, None),
        (LATE, Closed(1), 0.1, None),
        (GOOD, Closed(1), 0.95, "one core"),
        (LATE, Open(1), 0.1, "late, by 8.0 ms"),
        (samples([0], [0], [1], unsent=5), Open(1), 0.1, "5 requests were never sent"),
        (
            samples([0.0] * SENDERS, [0.0] * SENDERS, [1.0] * SENDERS),
            Open(1),
            0.1,
            "senders were busy",
        ),
    ],
)
def test_when_a_run_is_void(
    found: Samples, load: Closed | Open, cpu: float, word: str | None
) -> None:
    reason = void_reason(found, load, cpu)
    assert reason is None if word is None else word in (reason or "")
