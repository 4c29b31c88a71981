"""The best arrangement of a pipeline on this machine: all stages' settings together, climbed step
by step.

Starting from what is served now, every neighbour (one setting changed, or another layout) runs
beside the best so far, in pairs of blocks; the best of those that are surely better becomes the
next start, until none is. What wins is then compared with what was served at first, and where that
finds no difference nothing is changed: so what is tuned is never worse than it was, as surely as
the interval says.
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
LEAST_PAIRS = 3  # after so many, a neighbour that loses by more than `HOPELESS` is given up
HOPELESS = 0.9
# A neighbour must be better by this much: differences below it are not worth a change of
# configuration.
WORTH = 1.01


@dataclass(frozen=True)
class Objective:
    """What is best.

    Attributes:
        goal: images/s, or the p50 of one request.
        p99_ms: for throughput, the latency that must hold; None for any.
        loads: requests in flight at which it is measured; for throughput, the best of them counts.
    """

    goal: Goal
    p99_ms: float | None
    loads: tuple[int, ...]

    def score(self, seen: Mapping[int, Samples], seconds: float) -> float:
        """Higher is better: images/s, or 1/s of latency.

        Where the p99 is beyond the target, images/s count less by the square of how far: so a
        search that begins where nothing holds knows which way is better.
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
    """An arrangement beside the best so far.

    Attributes:
        arrangement: that was tried.
        change: what differs, in words.
        score: of the objective: images/s, or 1/s of latency; the median of its blocks.
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
    """A search.

    Attributes:
        objective: in words.
        first: what was served.
        best: what is to be served.
        gain: score of the best / that of the first, measured once more at the end; 1 where they are
            the same.
        tried: in order.
        complete: False where the time was up before no neighbour was better.
    """

    objective: str
    first: ServingConfig
    best: ServingConfig
    gain: Estimate
    tried: tuple[Tried, ...]
    complete: bool


# (candidate, best so far, whether it is the last word) -> the candidate's score, and its ratio to
# the best so far.
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
    """Search.

    Args:
        first: what is served now.
        neighbours: (change in words, arrangement) of what to try next to one.
        measure: runs a candidate beside the best so far.
        objective: in words.
        until: `time.monotonic()` after which no further candidate is begun.
        report: told each that was tried.
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
    """What can be tried next to an arrangement.

    Args:
        stages: of the pipeline, whatever the layout.
        cores: of this machine.
        target: that is served.
    """

    def neighbours(now: ServingConfig) -> Iterator[tuple[str, ServingConfig]]:
        now = replace(now, by_cores=False)  # what is tried is tried with its own numbers
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
            usual = now.in_flight or target.in_flight
            for flying in (usual * 2, usual // 2):
                if flying:
                    yield f"{flying} in flight", replace(now, in_flight=flying)

    return neighbours


def _other_layout(
    now: ServingConfig, layout: Layout, stages: Sequence[str], cores: int
) -> ServingConfig:
    """As `boxwise export` would have it: an instance a core, one thread each."""
    every = default_instances(stages, cores)
    other = replace(now, layout=layout, instances=every, threads=1, in_flight=None)
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
        for most in (now.max_batch_size * 2, now.max_batch_size // 2):
            yield f"batches of {most} at most", replace(now, max_batch_size=most)
