"""The highest rate that holds a latency: bracketed, bisected, confirmed.

find_rate: closed loop ─▶ capacity ─▶ search(): open loops ─▶ judge() each ─▶ Slo
"""

from __future__ import annotations

import math
from collections.abc import Callable

from boxwise_perf.bench import Bench
from boxwise_perf.endpoint import Endpoint
from boxwise_perf.load import Arrivals, Closed, Open
from boxwise_perf.result import Slo, Trial, Try
from boxwise_perf.trial import Plan

# The search ends when the lowest rate that fails is within this of the highest that holds.
RESOLUTION = 0.05
# Of the capacity. There, hardly any request is queued, so a lower rate has the same latency.
LOWEST_SHARE = 1 / 16
CONFIRMATIONS = 4  # each after the first at a rate lower by `RESOLUTION`
NEEDED_FOR_P99 = 130  # requests: 100 have a p99, and a few fewer than expected may arrive
NEEDED_TO_CONFIRM = 500  # requests: 368 give the p99 an upper bound

Measure = Callable[[float, bool], Trial]
"""Measures an open loop at a rate; True for the longer time of a confirmation."""


def find_rate(
    bench: Bench,
    endpoint: Endpoint,
    *,
    p99_ms: float,
    concurrency: int,
    arrivals: Arrivals,
    plan: Plan,
    confirm_s: float,
    report: Callable[[Try], None] = lambda _: None,
) -> tuple[Trial, Slo]:
    """Measure the capacity in a closed loop, and search from there; see `search`.

    Args:
        bench: its generator sends the load.
        endpoint: the server.
        p99_ms: the target in milliseconds.
        concurrency: of the closed loop.
        arrivals: of the open loops.
        plan: of a try; low rates take longer, until they have enough requests.
        confirm_s: duration of a confirmation in seconds.
        report: called after each try.

    Returns:
        The trial that measured the capacity, and the search.
    """
    capacity = bench.trial(endpoint, Closed(concurrency), plan)

    def measure(rate: float, confirming: bool) -> Trial:
        needed = (NEEDED_TO_CONFIRM if confirming else NEEDED_FOR_P99) / rate
        seconds = max(confirm_s if confirming else plan.seconds, needed)
        longer = Plan(plan.warm_up_s, round(seconds, 1), plan.seed)
        return bench.trial(endpoint, Open(rate, arrivals), longer)

    return capacity, search(measure, capacity.images_per_s.value, p99_ms, report)


def judge(trial: Trial, p99_ms: float) -> str:
    """Return why a trial does not hold the target, or "" if it does."""
    p99 = trial.latency_ms["p99"]
    if trial.failed:
        return ", ".join(f"{count} {name}" for name, count in trial.failed.items())
    if trial.void:
        return trial.void.partition(":")[0]
    if trial.steady.growing:
        return f"latency grew by {trial.steady.latency_change:.0%}: the queue keeps growing"
    if p99 is None:
        return "too few requests for a p99"
    return "" if p99.value <= p99_ms else f"p99 {p99.value:.1f} ms"


def search(
    measure: Measure, capacity: float, p99_ms: float, report: Callable[[Try], None] = lambda _: None
) -> Slo:
    """Find the highest rate that holds: p99 within the target, no error, no growing queue.

    The search assumes that every rate below one that holds also holds. It starts at half the
    capacity, doubles or halves the rate until the target lies between two rates, and bisects that
    interval on a logarithmic scale. It then confirms the highest rate that held by a longer run; if
    that fails, it tries the next lower one. A void trial is repeated once, because it does not
    measure the server.

    Args:
        measure: runs one trial.
        capacity: images/s of a saturated closed loop; no higher rate is tried.
        p99_ms: the target, in milliseconds from the scheduled send.
        report: called after each try.
    """
    tries: list[Try] = []

    def holds(rate: float, confirm: bool = False) -> bool:
        for _ in range(2):
            trial = measure(rate, confirm)
            why = judge(trial, p99_ms)
            tries.append(Try("confirm" if confirm else "search", rate, not why, why, trial))
            report(tries[-1])
            if not trial.void:
                break
        return tries[-1].held

    held, failed = 0.0, math.inf
    rate = capacity / 2
    while failed > held * (1 + RESOLUTION):
        if holds(rate):
            held = rate
        else:
            failed = rate
        if held >= capacity or failed <= capacity * LOWEST_SHARE:
            break
        if math.isinf(failed):
            rate = min(capacity, held * 2)
        else:
            rate = math.sqrt(held * failed) if held else failed / 2
    for _ in range(CONFIRMATIONS if held else 0):
        if holds(held, confirm=True):
            return Slo(p99_ms, held, tuple(tries))
        held /= 1 + RESOLUTION
    return Slo(p99_ms, None, tuple(tries))
