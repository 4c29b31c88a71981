"""Comparisons: a planted slowdown is found, A/A does not cry wolf, at the promised rate, over
simulated machines.
"""

import itertools

import numpy as np
import pytest
from contract_support.perf_results import machine, target, trial

from boxwise_benchmarks.calibrate import binomial_tail, judge
from boxwise_perf.compare import block, interleave, pooled, ratio, ratios, unpaired, verdict
from boxwise_perf.load import Closed, LoadError, Samples
from boxwise_perf.result import FORMAT, Block, Result, ResultError
from boxwise_perf.stats import Estimate

COMPARES = 400


def simulated(random: np.random.Generator, pairs: int, slowdown: float) -> Estimate:
    """Pairs of blocks on a machine whose speed drifts by 15 %, each block off by 3 % on its own."""
    drift = np.exp(np.cumsum(random.normal(0, 0.05, pairs)))
    a, b = (drift * np.exp(random.normal(0, 0.03, pairs)) * 200 for _ in range(2))
    return ratio(a.tolist(), (b * (1 - slowdown)).tolist())


def test_at_the_rates_that_the_interval_promises() -> None:
    random = np.random.default_rng(5)
    same = [simulated(random, 20, 0.0) for _ in range(COMPARES)]
    slowed = [simulated(random, 20, 0.05) for _ in range(COMPARES)]
    found = judge(same, slowed)
    assert found.chance > 0.01, f"{found.false_alarms} of {COMPARES} cry wolf"
    assert found.found > 0.99 * COMPARES
    missed = sum(not (each.low or 0) <= 0.95 <= (each.high or 2) for each in slowed)
    assert binomial_tail(missed, COMPARES, 0.05) > 0.01


def test_what_starts_differ_by_is_in_the_interval_of_several_starts_alone() -> None:
    """Servers that keep an offset of 3 % from their start on: pairs of one start cry wolf, several
    starts do not.
    """
    random = np.random.default_rng(7)

    def one_start(pairs: int) -> list[tuple[Block, Block]]:
        offset = np.exp(random.normal(0, 0.03))
        noise = np.exp(random.normal(0, 0.01, (pairs, 2)))
        return [(Block(200 * a, 10 / a), Block(200 * b * offset, 10 / b)) for a, b in noise]

    alone = [ratios(one_start(20))[0] for _ in range(COMPARES)]
    several = [ratios([pooled(one_start(4)) for _ in range(8)])[0] for _ in range(COMPARES)]
    assert judge(alone, []).chance < 1e-9
    assert judge(several, []).chance > 0.01, (
        f"{judge(several, []).false_alarms} of {COMPARES} cry wolf"
    )


def test_a_start_s_pairs_are_their_geometric_means() -> None:
    a, b = pooled([(Block(100, 10), Block(50, 40)), (Block(400, 40), Block(200, 10))])
    assert (a.images_per_s, a.p50_ms) == pytest.approx((200, 20))
    assert (b.images_per_s, b.p50_ms) == pytest.approx((100, 20))


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(1.1), "so few pairs"),
        (Estimate(1.01, 0.98, 1.04), "no difference found: +1.0% [-2.0%, +4.0%]"),
        (Estimate(0.95, 0.94, 0.96), "B is slower by 5.0% [-6.0%, -4.0%]"),
        (Estimate(1.2, 1.1, 1.3), "B is faster by 20.0%"),
    ],
)
def test_the_verdict(estimate: Estimate, words: str) -> None:
    assert words in verdict(estimate)


def test_blocks_come_in_pairs_of_a_drawn_and_seeded_order() -> None:
    def order(seed: int) -> list[tuple[int, int]]:
        asked: list[tuple[int, int]] = []

        def measure(side: int, number: int) -> Block:
            asked.append((number, side))
            return Block(100 + side, 10)

        pairs = interleave(measure, 12, seed)
        assert all((a.images_per_s, b.images_per_s) == (100, 101) for a, b in pairs)
        return asked

    asked = order(1)
    assert asked == order(1) != order(2)
    assert [number for number, _ in asked] == [number for number in range(12) for _ in range(2)]
    assert {tuple(side for _, side in asked[at : at + 2]) for at in range(0, 24, 2)} == {
        (0, 1),
        (1, 0),
    }


def steady(rate: float, seconds: float, latency: float = 0.01, error: str = "") -> Samples:
    done = np.arange(latency, seconds + 0.5, 1 / rate)
    ones = np.ones(len(done), np.int64)
    return Samples(
        done - latency,
        done - latency,
        done,
        ones,
        (error,) * len(done),
        {"Overloaded": "queue full"},
    )


def test_a_block_s_figures() -> None:
    found = block(steady(100, 1.0))
    assert found.images_per_s == pytest.approx(100, rel=0.01)
    assert found.p50_ms == pytest.approx(10)


def test_a_block_whose_requests_fail() -> None:
    with pytest.raises(LoadError, match="requests of a block failed: queue full"):
        block(steady(10, 1.0, error="Overloaded"))


def test_ratios_of_pairs() -> None:
    pairs = [
        (Block(100, 10), Block(110, 8)),
        (Block(200, 20), Block(220, 16)),
        (Block(50, 5), Block(55, 4)),
    ]
    throughput, p50 = ratios(pairs)
    assert throughput.value == pytest.approx(1.1)
    assert p50.value == pytest.approx(0.8)


def result(*rates: float) -> Result:
    trials = tuple(trial(Closed(number + 1), rate) for number, rate in enumerate(rates))
    return Result(FORMAT, "2026-01-01T00:00:00+00:00", machine(), target(), None, 0.95, trials)


def test_results_that_were_measured_apart() -> None:
    small, large = unpaired(result(100, 200), result(110, 300))
    assert "no difference can be told: +10.0%" in small.verdict
    assert "B has +50.0% images/s" in large.verdict
    assert all("under 15% mean nothing" in each.verdict for each in (small, large))
    assert large.throughput == Estimate(1.5)
    with pytest.raises(ResultError, match="A holds no trials"):
        unpaired(result(), result(100))
    one, other = result(100, 200), result(100, 200)
    for pair in itertools.permutations(
        (one, Result(**vars(other) | {"trials": (trial(Closed(9), 1),)}))
    ):
        with pytest.raises(ResultError, match="no load in common"):
            unpaired(*pair)
