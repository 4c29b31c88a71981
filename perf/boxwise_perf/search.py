"""The highest rate that holds a latency: bracketed, bisected, confirmed."""

from __future__ import annotations

import math
from collections.abc import Callable

from boxwise_perf.result import Slo, Trial, Try

# the search ends when the lowest rate that fails is this much above the highest that holds
RESOLUTION = 0.05
# Of the capacity: hardly a request waits for another, so a lower rate is no faster.
LOWEST_SHARE = 1 / 16
CONFIRMATIONS = 4  # each after the first at a rate lower by `RESOLUTION`

Measure = Callable[[float, bool], Trial]
"""Measures an open loop at a rate; the second argument says whether to take the longer time of a
confirmation.
"""


def judge(trial: Trial, p99_ms: float) -> str:
    """Why a trial does not hold the target, "" where it does."""
    p99 = trial.latency_ms["p99"]
    if trial.failed:
        return ", ".join(f"{count} {name}" for name, count in trial.failed.items())
    if trial.void:
        return trial.void.partition(":")[0]
    if trial.steady.growing:
        return f"latency grew by {trial.steady.latency_change:.0%}: the queue never ends"
    if p99 is None:
        return "too few requests for a p99"
    return "" if p99.value <= p99_ms else f"p99 {p99.value:.1f} ms"


def search(
    measure: Measure, capacity: float, p99_ms: float, report: Callable[[Try], None] = lambda _: None
) -> Slo:
    """Find the highest rate whose p99 is within the target, with no errors, no voided run and no
    growing queue.

    It assumes that a rate below one that holds, holds too. It begins at half the capacity, doubles
    or halves until the target lies between two rates, and halves that interval on a logarithmic
    scale. The highest rate that held is then measured for longer; where that fails, the next lower
    one is. A void try says nothing about the server, so it is measured once more.

    Args:
        measure: runs one trial.
        capacity: images/s of a saturated closed loop; no rate above it is tried.
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
        rate = (
            min(capacity, held * 2)
            if math.isinf(failed)
            else math.sqrt(held * failed)
            if held
            else failed / 2
        )
    for _ in range(CONFIRMATIONS if held else 0):
        if holds(held, confirm=True):
            return Slo(p99_ms, held, tuple(tries))
        held /= 1 + RESOLUTION
    return Slo(p99_ms, None, tuple(tries))
