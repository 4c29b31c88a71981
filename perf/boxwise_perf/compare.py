"""A against B: blocks of load in turn, in a shuffled order, and what their pairs say."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from boxwise_perf.load import LoadError, Samples
from boxwise_perf.result import Block, Comparison, Result, ResultError, Trial
from boxwise_perf.stats import CONFIDENCE, Estimate, paired_mean

LEAST = 6  # pairs, or starts: fewer have intervals that say nothing
IMAGES_APART = 7  # between the first images of two pairs, so that the pairs see different ones
UNPAIRED = (
    0.15  # two runs of one thing, minutes apart, differed by this much on the machines that we have
)

T = TypeVar("T")


def block(samples: Samples) -> Block:
    """A block's figures: its requests over the time until the last was answered, and their median
    latency.

    Raises:
        LoadError: a request failed, so that the two sides did different work.
    """
    good = samples.answered
    if not good.all():
        failed = next(error for error in samples.errors if error)
        raise LoadError(f"{(~good).sum()} requests of a block failed: {samples.messages[failed]}")
    return Block(len(good) / float(samples.done.max()), float(np.median(samples.latencies)) * 1e3)


def interleave(
    measure: Callable[[int, int], T], pairs: int, seed: int, done: Callable[[], None] = lambda: None
) -> tuple[tuple[T, T], ...]:
    """Measure so many pairs of blocks; within each pair the order is drawn, so that a drift favours
    neither side.

    Args:
        measure: one block of side 0 (A) or 1 (B); the second argument is the number of the pair.
        pairs: how many.
        seed: of the order.
        done: called after each pair.
    """
    order = random.Random(seed)
    found = []
    for number in range(pairs):
        sides = [0, 1]
        order.shuffle(sides)
        blocks = {side: measure(side, number) for side in sides}
        found.append((blocks[0], blocks[1]))
        done()
    return tuple(found)


def pooled(pairs: Sequence[tuple[Block, Block]]) -> tuple[Block, Block]:
    """The pairs of one start of both servers as one pair: geometric means.

    What two starts of one thing differ by stays in all their pairs. Over several starts, each is
    one observation.
    """

    def side(number: int) -> Block:
        rates, p50s = zip(
            *((pair[number].images_per_s, pair[number].p50_ms) for pair in pairs), strict=True
        )
        return Block(statistics.geometric_mean(rates), statistics.geometric_mean(p50s))

    return side(0), side(1)


def ratio(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """B / A over pairs: the geometric mean of the pairs' own ratios, its interval that of their
    logarithms.

    What disturbs both blocks of a pair alike cancels. Pairs are independent where the drift of the
    machine is slow against a pair; see `stats.paired_mean` for the interval.
    """
    logs = paired_mean(np.log(np.asarray(b)) - np.log(np.asarray(a)), confidence)
    low, high = (None if bound is None else float(np.exp(bound)) for bound in (logs.low, logs.high))
    return Estimate(float(np.exp(logs.value)), low, high)


def ratios(
    pairs: Sequence[tuple[Block, Block]], confidence: float = CONFIDENCE
) -> tuple[Estimate, Estimate]:
    """(throughput, p50 of the latency) of B / A."""
    a, b = zip(*pairs, strict=True)
    return (
        ratio([each.images_per_s for each in a], [each.images_per_s for each in b], confidence),
        ratio([each.p50_ms for each in a], [each.p50_ms for each in b], confidence),
    )


def verdict(throughput: Estimate, confidence: float = CONFIDENCE) -> str:
    """A sentence on B's images/s against A's."""
    value, low, high = throughput.value, throughput.low, throughput.high
    if low is None or high is None:
        return "no difference can be told from so few pairs"
    bounds = f"[{low - 1:+.1%}, {high - 1:+.1%}]"
    if low > 1 or high < 1:
        word = "faster" if value > 1 else "slower"
        return f"B is {word} by {abs(value - 1):.1%} {bounds}, confidence {confidence:.0%}"
    return f"no difference found: {value - 1:+.1%} {bounds}, confidence {confidence:.0%}"


def unpaired(a: Result, b: Result) -> tuple[Comparison, ...]:
    """The trials of two results that have the same load, one after the other.

    Raises:
        ResultError: they have no load in common, or are no runs.
    """
    for name, each in (("A", a), ("B", b)):
        if not each.trials or each.target is None:
            raise ResultError(
                f"{name} holds no trials: expected what `boxwise perf run --out` wrote"
            )
    later = {str(trial.load): trial for trial in b.trials}
    both = [(trial, later[str(trial.load)]) for trial in a.trials if str(trial.load) in later]
    if not both:
        loads = (", ".join(str(trial.load) for trial in each.trials) for each in (a, b))
        raise ResultError(
            "A and B have no load in common ({}; {}): measure both at the same".format(*loads)
        )
    return tuple(_unpaired(a, b, one, other) for one, other in both)


def _unpaired(a: Result, b: Result, one: Trial, other: Trial) -> Comparison:
    first, second = (
        Block(
            trial.images_per_s.value,
            p50.value if (p50 := trial.latency_ms["p50"]) else trial.latency_mean_ms,
        )
        for trial in (one, other)
    )
    change = second.images_per_s / first.images_per_s - 1
    said = (
        f"B has {change:+.1%} images/s"
        if abs(change) >= UNPAIRED
        else f"no difference can be told: {change:+.1%}"
    )
    assert a.target  # noqa: S101 - `unpaired` looked
    assert b.target  # noqa: S101
    return Comparison(
        a.target,
        b.target,
        one.load,
        0,
        0,
        ((first, second),),
        Estimate(second.images_per_s / first.images_per_s),
        Estimate(second.p50_ms / first.p50_ms),
        f"{said}; measured apart, where differences under {UNPAIRED:.0%} mean nothing",
    )
