"""The search finds the highest rate that holds, whatever the target, and says why others do not."""

import pytest
from contract_support.perf_results import trial
from hypothesis import given
from hypothesis import strategies as st

from boxwise_perf.load import Open
from boxwise_perf.result import Slo, Trial
from boxwise_perf.search import RESOLUTION, judge, search


def queue(capacity: float, service_ms: float = 10.0, flaky: int = 0) -> object:
    """A server whose p99 grows as a queue's does; its first `flaky` confirmations fail."""
    left = flaky

    def measure(rate: float, confirming: bool) -> Trial:
        nonlocal left
        p99 = service_ms / max(1e-3, 1 - rate / capacity)
        if confirming and left:
            left -= 1
            p99 *= 1000
        return trial(Open(rate), rate, p99)

    return measure


@given(st.floats(1, 5000), st.floats(0.08, 0.95))
def test_it_finds_the_highest_rate(capacity: float, share: float) -> None:
    found = search(queue(capacity), capacity, 10 / (1 - share))
    assert found.rate is not None
    assert capacity * share / (1 + 2 * RESOLUTION) <= found.rate <= capacity * share
    assert found.tries[-1].phase == "confirm"
    assert len(found.tries) < 20


def test_a_target_that_everything_holds_ends_at_the_capacity() -> None:
    assert search(queue(100), 100, 1e9).rate == 100


def test_a_target_that_nothing_holds() -> None:
    found = search(queue(100), 100, 1.0)
    assert found.rate is None
    assert all(not each.held and "p99 " in each.why for each in found.tries)


@pytest.mark.parametrize(("flaky", "confirmed"), [(1, True), (9, False)])
def test_what_is_not_confirmed_is_tried_lower(flaky: int, confirmed: bool) -> None:
    seen: list[object] = []
    found: Slo = search(queue(100, flaky=flaky), 100, 40, seen.append)
    assert (found.rate is not None) == confirmed
    confirms = [each for each in found.tries if each.phase == "confirm"]
    assert confirms[1].rate == pytest.approx(confirms[0].rate / (1 + RESOLUTION))
    assert len(seen) == len(found.tries)


def test_a_void_try_is_measured_once_more() -> None:
    voids = iter([True])

    def measure(rate: float, confirming: bool) -> Trial:
        return trial(
            Open(rate), rate, void="late: stop what else runs" if next(voids, False) else None
        )

    found = search(measure, 100, 1e9)
    assert found.rate == 100
    assert [(each.rate, each.held) for each in found.tries] == [
        (50, False),
        (50, True),
        (100, True),
        (100, True),
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (trial(Open(1), p99_ms=20), ""),
        (trial(Open(1), p99_ms=120), "p99 120.0 ms"),
        (trial(Open(1), failed={"Overloaded": 3}), "3 Overloaded"),
        (trial(Open(1), void="all senders were busy: ask for less"), "all senders were busy"),
        (trial(Open(1), growing=True), "latency grew by 50%"),
    ],
)
def test_why_a_rate_does_not_hold(found: Trial, words: str) -> None:
    assert judge(found, 100).startswith(words)
    assert bool(judge(found, 100)) == bool(words)
