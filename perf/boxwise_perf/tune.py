"""Hill climbing over the configurations of a pipeline: layout, instances, threads, batches.

    configuration ─▶ neighbours_of() ─▶ measure each beside the best so far ─▶ the best ─┐
          ▲                                                                              │
          └──────────── until no neighbour is better with confidence ◀───────────────────┘

A neighbour differs in one setting, or has another layout. At the end, the best is compared with the
configuration that was served at first. If no difference is found, nothing changes, so tuning makes
a pipeline no slower, with the confidence of the interval.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from boxwise_export.repository.serving_config import (
    LAYOUTS,
    Layout,
    ServingConfig,
    default_instances,
)
from boxwise_perf.load import Samples
from boxwise_perf.stats import Estimate
from boxwise_runtime.targets import Target

Goal = Literal["throughput", "latency"]
QUEUE_DELAYS_US = (0, 100, 500, 2000)
LEAST_PAIRS = 3  # after these, a neighbour whose ratio is below `HOPELESS` is abandoned
HOPELESS = 0.9
WORTH = 1.01  # the least ratio that is worth a change of configuration


@dataclass(frozen=True)
class Objective:
    """What the search maximises.

    Attributes:
        goal: images/s, or the p50 of one request.
        p99_ms: for throughput, the p99 that must hold; None for any.
        loads: numbers of requests in flight to measure at; for throughput, the best counts.
    """

    goal: Goal
    p99_ms: float | None
    loads: tuple[int, ...]

    def score(self, seen: Mapping[int, Samples], seconds: float) -> float:
        """Return images/s, or 1 / latency in seconds: higher is better.

        If the p99 exceeds its target, images/s are divided by the square of the excess. So the
        search finds its way from a start where no load holds.
        """
        if self.goal == "latency":
            return 1 / float(
                np.median(np.concatenate([each.latencies[each.answered] for each in seen.values()]))
            )
        return max(self._rate(samples, seconds) for samples in seen.values())

    def _rate(self, samples: Samples, seconds: float) -> float:
        rate = float((samples.answered & (samples.done <= seconds)).sum()) / seconds
        return rate if self.p99_ms is None else rate * min(1.0, self.p99_ms / samples.p99_ms) ** 2

    def __str__(self) -> str:
        if self.goal == "latency":
            return "the lowest p50 of one request"
        held = f" with a p99 of {self.p99_ms:g} ms at most" if self.p99_ms else ""
        return f"the most images/s{held}, at {', '.join(map(str, self.loads))} in flight"


@dataclass(frozen=True)
class Tried:
    """A configuration that was measured beside the best so far. The fields are keys of the JSON.

    Attributes:
        arrangement: the configuration.
        change: how it differs from the best so far, in words.
        score: see `Objective.score`; the median of its blocks.
        ratio: its score / that of the best so far, over the pairs.
        taken: whether it became the best so far.
    """

    arrangement: ServingConfig
    change: str
    score: float
    ratio: Estimate
    taken: bool


@dataclass(frozen=True)
class Tuning:
    """The result of a search.

    Attributes:
        objective: in words.
        first: the configuration that was served.
        best: the configuration to serve.
        gain: score of the best / that of the first, measured again at the end; 1 if they are equal.
        tried: every measured configuration, in order.
        complete: False if the time ran out first.
    """

    objective: str
    first: ServingConfig
    best: ServingConfig
    gain: Estimate
    tried: tuple[Tried, ...]
    complete: bool


# (candidate, best so far, whether this is the final comparison) -> the candidate's score, and its
# ratio to that of the best so far.
Measure = Callable[[ServingConfig, ServingConfig, bool], tuple[float, Estimate]]


def climb(
    first: ServingConfig,
    neighbours: Callable[[ServingConfig], Iterator[tuple[str, ServingConfig]]],
    measure: Measure,
    *,
    objective: str,
    until: float = float("inf"),
    report: Callable[[Tried], None] = lambda _: None,
) -> Tuning:
    """Search from a configuration, and return the best one found.

    Args:
        first: the configuration that is served now.
        neighbours: yields (change in words, configuration) for each neighbour of a configuration.
        measure: runs a candidate beside the best so far.
        objective: in words.
        until: `time.monotonic()` after which no further candidate starts.
        report: called after each candidate.
    """
    best, known, tried, complete = first, [first], [], True
    while True:
        round_: list[Tried] = []
        for change, candidate in neighbours(best):
            if candidate in known:
                continue
            if time.monotonic() > until:
                complete = False
                break
            known.append(candidate)
            score, ratio = measure(candidate, best, False)
            round_.append(Tried(candidate, change, score, ratio, taken=False))
            report(round_[-1])
        better = [each for each in round_ if each.ratio.low is not None and each.ratio.low > WORTH]
        winner = max(better, key=lambda each: each.ratio.value, default=None)
        tried += [replace(each, taken=each is winner) for each in round_]
        if winner is None:
            break
        best = winner.arrangement
    if best == first:
        return Tuning(objective, first, best, Estimate(1.0, 1.0, 1.0), tuple(tried), complete)
    _, gain = measure(best, first, True)
    if gain.low is None or gain.low <= 1:
        best = first
    return Tuning(objective, first, best, gain, tuple(tried), complete)


def neighbours_of(
    stages: Sequence[str], cores: int, target: Target
) -> Callable[[ServingConfig], Iterator[tuple[str, ServingConfig]]]:
    """Return a function that yields the neighbours of a configuration.

    Args:
        stages: the pipeline's stages, independent of the layout.
        cores: of this machine.
        target: the target that is served.
    """

    def neighbours(now: ServingConfig) -> Iterator[tuple[str, ServingConfig]]:
        now = replace(now, by_cores=False)  # a candidate runs with its own numbers
        if target.joins_networks:
            for layout in LAYOUTS:
                if layout != now.layout:
                    yield f"layout {layout}", _other_layout(now, layout, stages, cores)
        for stage, count in now.instances.items():
            for other in (count + 1, count - 1):
                if 1 <= other <= 2 * cores:
                    yield (
                        f"{stage}: {other} instances",
                        replace(now, instances={**now.instances, stage: other}),
                    )
        yield from _threads(now, cores) if target.joins_networks else _batches(now)
        if now.layout == "bls":
            current = now.in_flight or target.in_flight
            for in_flight in (current * 2, current // 2):
                if in_flight:
                    yield f"{in_flight} in flight", replace(now, in_flight=in_flight)

    return neighbours


def _other_layout(
    now: ServingConfig, layout: Layout, stages: Sequence[str], cores: int
) -> ServingConfig:
    """Return the layout as `boxwise export` writes it: one instance per core, one thread each."""
    other = ServingConfig(instances=default_instances(stages, cores)).followed_by(
        replace(now, layout=layout, instances={}, threads=1, in_flight=None)
    )
    return replace(other, instances=other.served_instances)


def _threads(now: ServingConfig, cores: int) -> Iterator[tuple[str, ServingConfig]]:
    threads = now.threads or 1
    for other in (threads * 2, threads // 2):
        if 1 <= other <= cores:
            yield f"{other} threads", replace(now, threads=other)
    shared = {stage: max(1, cores // (2 * threads)) for stage in now.instances}
    if threads * 2 <= cores and shared != dict(now.instances):
        yield (
            f"{threads * 2} threads, fewer instances",
            replace(now, threads=threads * 2, instances=shared),
        )


def _batches(now: ServingConfig) -> Iterator[tuple[str, ServingConfig]]:
    for delay in QUEUE_DELAYS_US:
        if delay != now.queue_delay_us:
            yield f"queue delay {delay} us", replace(now, queue_delay_us=delay)
    if now.max_batch_size is not None and now.max_batch_size > 1:
        for size in (now.max_batch_size * 2, now.max_batch_size // 2):
            yield f"batches of {size} at most", replace(now, max_batch_size=size)
