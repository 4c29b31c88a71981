"""Figures and their intervals: the empty sample first, then what can be computed by hand, then the
promised rates.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_benchmarks.calibrate import binomial_tail
from boxwise_perf.stats import Estimate, mean, paired_mean, percentile, rate, trend

TRIALS = 400


@pytest.mark.parametrize(("count", "percent"), [(0, 50), (1, 50), (99, 99), (999, 99.9)])
def test_too_few_for_a_percentile(count: int, percent: float) -> None:
    assert percentile(np.arange(count), percent) is None


def test_a_median_of_ten_has_the_ranks_of_the_tables() -> None:
    """Order statistics 2 and 9 of 10 hold the median with a confidence of 97.9 % (Hahn & Meeker,
    table A.15).
    """
    assert percentile(np.arange(1, 11), 50) == Estimate(5, 2, 9)


@pytest.mark.parametrize(("count", "bounded"), [(100, False), (367, False), (368, True)])
def test_the_upper_bound_of_a_p99_needs_368_values(count: int, bounded: bool) -> None:
    """0.99 ** n must fall below 0.025."""
    found = percentile(np.arange(count), 99)
    assert found is not None
    assert (found.high is not None) == bounded


@given(st.lists(st.floats(0, 1e6), min_size=10, max_size=300), st.sampled_from([50.0, 90.0]))
def test_a_percentile_lies_in_its_interval_and_does_not_mind_the_order(
    values: list[float], percent: float
) -> None:
    found = percentile(values, percent)
    assert found is not None
    assert found.value in values
    assert found.low is None or found.low <= found.value
    assert found.high is None or found.high >= found.value
    assert percentile(values[::-1], percent) == found


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_a_percentile_s_interval_covers_as_often_as_promised(percent: float) -> None:
    random = np.random.default_rng(1)
    truth = -math.log(1 - percent / 100)
    missed = 0
    for _ in range(TRIALS):
        found = percentile(random.exponential(size=600), percent)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= truth <= found.high
    assert binomial_tail(missed, TRIALS, 0.05) > 0.01


@pytest.mark.parametrize(("count", "skewed"), [(10, False), (20, False), (20, True)])
def test_a_mean_s_interval_covers_as_often_as_promised(count: int, skewed: bool) -> None:
    random = np.random.default_rng(2)
    missed = 0
    for _ in range(TRIALS):
        found = mean(random.gamma(4, size=count) - 4 if skewed else random.normal(size=count))
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 0 <= found.high
    assert binomial_tail(missed, TRIALS, 0.05) > 0.01


@pytest.mark.parametrize("count", [6, 8, 12, 20])
@pytest.mark.parametrize("tails", ["normal", "heavy", "spikes"])
def test_paired_differences_cover_as_often_as_promised_whatever_disturbs_them(
    count: int, tails: str
) -> None:
    random = np.random.default_rng(3)
    draw = {
        "normal": lambda: random.normal(size=count),
        "heavy": lambda: random.standard_t(3, size=count),
        "spikes": lambda: random.normal(size=count) * np.where(random.random(count) < 0.1, 8, 1),
    }[tails]
    missed = 0
    for _ in range(TRIALS):
        found = paired_mean(draw())
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 0 <= found.high
    assert binomial_tail(missed, TRIALS, 0.05) > 0.01


def test_few_or_equal_pairs() -> None:
    assert paired_mean([1.0]) == Estimate(1.0)
    # 31 subsamples: the outermost is not rare enough.
    assert paired_mean([1.0, 2.0, 3.0, 4.0, 5.0]) == Estimate(3.0)
    assert paired_mean([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == Estimate(3.5, 1.0, 6.0)
    equal = paired_mean([3.0] * 12)
    assert (equal.low, equal.high) == pytest.approx((3.0, 3.0))
    assert paired_mean(range(30)) == paired_mean(range(30))


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [3.0] * 5])
def test_a_mean_of_few_or_equal_values(values: list[float]) -> None:
    bound = 3.0 if len(values) > 2 else None
    assert mean(values) == Estimate(3.0, bound, bound)


def test_the_same_values_have_the_same_interval() -> None:
    assert mean([1, 2, 3, 5, 8]) == mean([1, 2, 3, 5, 8])


def test_a_rate_counts_what_falls_inside_and_weighs_it() -> None:
    times = np.arange(0.05, 12, 0.1)
    assert rate(times, 1, 11).value == pytest.approx(10)
    assert rate(times, 1, 11, np.full(len(times), 5)).value == pytest.approx(50)


def test_a_trend_is_found_and_noise_is_none() -> None:
    change, chance = trend(np.arange(12.0))
    assert change == pytest.approx(11)
    assert chance < 0.001
    random = np.random.default_rng(3)
    found = sum(trend(random.normal(size=12))[1] < 0.05 for _ in range(TRIALS))
    assert binomial_tail(found, TRIALS, 0.05) > 0.01
    assert trend([7.0] * 12) == (0, 1)


def test_an_estimate_in_another_unit() -> None:
    assert Estimate(1, None, 2).scaled(1000) == Estimate(1000, None, 2000)
