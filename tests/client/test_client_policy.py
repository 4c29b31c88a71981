"""When a request is sent again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise import Hedge, Retry
from boxwise._policy import Budget, Latencies


@pytest.mark.parametrize(("tried", "longest"), [(1, 0.05), (2, 0.1), (3, 0.2), (6, 1.0), (60, 1.0)])
def test_a_pause_is_a_random_part_of_twice_as_much_each_time(tried: int, longest: float) -> None:
    assert Retry().pause(tried, 1.0) == pytest.approx(longest)
    assert Retry().pause(tried, 0.0) == 0.0
    assert 0 <= Retry().pause(tried) <= longest


@given(st.lists(st.booleans(), max_size=3000))
def test_retries_are_a_tenth_of_requests_at_most(fails: list[bool]) -> None:
    budget, retried = Budget(0.1), 0
    for fail in fails:
        budget.earn()
        retried += fail and budget.spend()
    assert retried <= 10 + 0.1 * len(fails) + 1e-6


def test_an_outage_spends_the_budget_and_traffic_earns_it_again() -> None:
    budget = Budget(0.1)
    assert sum(budget.spend() for _ in range(50)) == 10
    for _ in range(21):
        budget.earn()
    assert sum(budget.spend() for _ in range(50)) == 2


def test_what_is_saved_up_has_an_end() -> None:
    budget = Budget(0.1)
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(500)) == 100


def test_no_percentile_before_there_were_enough_requests() -> None:
    latencies = Latencies(Hedge().percentile)
    for i in range(31):
        latencies.add(i / 1000)
        assert latencies.high is None
    latencies.add(0.031)
    assert latencies.high == 0.030


def test_the_percentile_follows_what_is_recent() -> None:
    latencies = Latencies(95)
    for _ in range(1000):
        latencies.add(0.001)
    for _ in range(256):
        latencies.add(0.5)
    assert latencies.high == 0.5
