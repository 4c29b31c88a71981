"""A against B: alternating blocks of load in random order, and the ratio of each pair.

compare_servers: Bench ─▶ paired_blocks() ─▶ pooled() per start ─▶ ratios(), verdict()
compare_files:   two results of `perf run` ─▶ unpaired()
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from boxwise_perf import result as results
from boxwise_perf.bench import Bench
from boxwise_perf.endpoint import Endpoint
from boxwise_perf.generator import Generator, Job
from boxwise_perf.images import Workload
from boxwise_perf.load import Closed, LoadError, Samples
from boxwise_perf.result import Block, Comparison, Result, ResultError, Trial
from boxwise_perf.stats import CONFIDENCE, Estimate, paired_mean

LEAST = 6  # pairs, or starts: fewer give no bounds at 95 %
IMAGES_APART = 7  # between the first images of two pairs, so that pairs see different images
UNPAIRED = 0.15  # two runs of the same server, minutes apart, differed by this much in our trials

T = TypeVar("T")
Pairs = tuple[tuple[Block, Block], ...]
Side = tuple[Path | None, str | None, str | None]  # repository, URL and pipeline of `Bench.add`


def compare_servers(
    sides: tuple[Side, Side],
    workload: Workload,
    load: Closed,
    *,
    pairs: int,
    starts: int,
    block_s: float,
    warm_up_s: float,
    timeout_s: float,
    seed: int,
    confidence: float = CONFIDENCE,
    report: Callable[[str], None] = lambda _: None,
    done: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compare two servers, of which one at a time is loaded.

    Args:
        sides: A and B.
        workload: what is sent to both.
        load: of every block.
        pairs: of blocks per start.
        starts: how often both servers are started. With several, each start is one observation, so
            that the interval includes how starts differ.
        block_s: duration of a block in seconds.
        warm_up_s: duration of the warm-up of each server in seconds.
        timeout_s: deadline of a request.
        seed: of the order of the blocks.
        confidence: of the interval.
        report: called with a line before each step.
        done: called after each pair.

    Raises:
        LoadError: a request failed.
    """
    measured: list[Pairs] = []
    for start in range(starts):
        with Bench(workload, timeout_s, report) as bench:
            (first, a), (second, b) = (bench.add(*side) for side in sides)
            for endpoint in (first, second) if warm_up_s else ():
                bench.generator.run(Job(endpoint.url, endpoint.pipeline, load, warm_up_s))
            report(f"{pairs} pairs of blocks of {block_s:g} s at {load}")
            blocks = paired_blocks(
                bench.generator, (first, second), load, pairs, block_s, seed + start, done
            )
            measured.append(blocks)
    found = tuple(map(pooled, measured)) if starts > 1 else measured[0]
    throughput, p50 = ratios(found, confidence)
    sentence = verdict(throughput, confidence)
    return Comparison(a, b, load, block_s, seed, found, throughput, p50, sentence)


def compare_files(a: Path, b: Path) -> Result:
    """Compare two result files of `boxwise perf run`.

    Raises:
        ResultError: one is not such a file, or they have no machine or load in common.
    """
    one, other = results.load(a), results.load(b)
    results.check_one_machine([one, other])
    return results.new(None, None, confidence=one.confidence, comparisons=unpaired(one, other))


def paired_blocks(
    generator: Generator,
    sides: tuple[Endpoint, Endpoint],
    load: Closed,
    pairs: int,
    block_s: float,
    seed: int,
    done: Callable[[], None] = lambda: None,
) -> Pairs:
    """Load two servers in turn; see `interleave`. Raises LoadError if a request fails."""

    def measure(side: int, number: int) -> Block:
        endpoint = sides[side]
        first = number * IMAGES_APART
        job = Job(endpoint.url, endpoint.pipeline, load, block_s, first=first)
        return block(generator.run(job).samples)

    return interleave(measure, pairs, seed, done)


def block(samples: Samples) -> Block:
    """Return the throughput until the last response, and the median latency.

    Raises:
        LoadError: a request failed, so the two sides did different work.
    """
    succeeded = samples.answered
    if not succeeded.all():
        failed = next(error for error in samples.errors if error)
        raise LoadError(
            f"{(~succeeded).sum()} requests of a block failed: {samples.messages[failed]}"
        )
    throughput = len(succeeded) / float(samples.done.max())
    return Block(throughput, float(np.median(samples.latencies)) * 1e3)


def interleave(
    measure: Callable[[int, int], T], pairs: int, seed: int, done: Callable[[], None] = lambda: None
) -> tuple[tuple[T, T], ...]:
    """Measure pairs of blocks, each pair in random order, so that a drift favours neither side.

    Args:
        measure: measures one block, given the side (0 for A, 1 for B) and the number of the pair.
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
    """Return the geometric means of the pairs of one start, as one pair.

    Two starts of the same server can differ, and all pairs of a start share that difference. So
    over several starts, each start is one observation.
    """

    def side(number: int) -> Block:
        return Block(
            statistics.geometric_mean(pair[number].images_per_s for pair in pairs),
            statistics.geometric_mean(pair[number].p50_ms for pair in pairs),
        )

    return side(0), side(1)


def ratio(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return B / A: the geometric mean of the ratios of the pairs, with its interval.

    A disturbance of both blocks of a pair cancels. The interval is that of the mean logarithm (see
    `stats.paired_mean`). Pairs are independent if the machine drifts slowly compared with a pair.
    """
    logs = paired_mean(np.log(np.asarray(b)) - np.log(np.asarray(a)), confidence)
    low, high = (None if bound is None else float(np.exp(bound)) for bound in (logs.low, logs.high))
    return Estimate(float(np.exp(logs.value)), low, high)


def ratios(
    pairs: Sequence[tuple[Block, Block]], confidence: float = CONFIDENCE
) -> tuple[Estimate, Estimate]:
    """Return B / A of the throughput and of the p50 latency."""
    a, b = zip(*pairs, strict=True)
    return (
        ratio([each.images_per_s for each in a], [each.images_per_s for each in b], confidence),
        ratio([each.p50_ms for each in a], [each.p50_ms for each in b], confidence),
    )


def verdict(throughput: Estimate, confidence: float = CONFIDENCE) -> str:
    """Return a sentence about the throughput of B, given B / A."""
    value, low, high = throughput.value, throughput.low, throughput.high
    if low is None or high is None:
        return "no difference can be told from so few pairs"
    bounds = f"[{low - 1:+.1%}, {high - 1:+.1%}]"
    if low > 1 or high < 1:
        word = "faster" if value > 1 else "slower"
        return f"B is {word} by {abs(value - 1):.1%} {bounds}, confidence {confidence:.0%}"
    return f"no difference found: {value - 1:+.1%} {bounds}, confidence {confidence:.0%}"


def unpaired(a: Result, b: Result) -> tuple[Comparison, ...]:
    """Compare the trials of two results that have the same load.

    Raises:
        ResultError: a result holds no trials, or they have no load in common.
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
    finding = (
        f"B has {change:+.1%} images/s"
        if abs(change) >= UNPAIRED
        else f"no difference can be told: {change:+.1%}"
    )
    assert a.target  # noqa: S101 - checked in `unpaired`
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
        f"{finding}; measured apart, where differences under {UNPAIRED:.0%} mean nothing",
    )
