"""One trial: a load for a time, with the server's statistics and its use of the machine.

Generator ─▶ Samples ─▶ summarize() ──────────────────────┐
TritonStatistics before, after ─▶ stages() ───────────────┼─▶ Trial
cpu_seconds() before, after, Gpus.watch_until() ──────────┘
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from boxwise_perf import stats
from boxwise_perf.endpoint import Endpoint
from boxwise_perf.generator import Generator, Job, Outcome
from boxwise_perf.load import Load, LoadError, Open, Samples, void_reason
from boxwise_perf.result import Columns, Distribution, Streams, Trial
from boxwise_perf.stats import PERCENTILES, Estimate
from boxwise_perf.steady import Steadiness, steadiness
from boxwise_perf.triton_statistics import Counters, StatisticsError, TritonStatistics, stages
from boxwise_perf.usage import Gpus, cpu_seconds, server_use

FRAME_S = 1 / 30
ONE_MODEL = (
    "the stages are inside one model (layout fused), which counts them in its metrics; "
    "with --url their address is not known"
)
NOT_OURS = "CPU and memory of the server are not known: another program started it (--url)"


@dataclass(frozen=True)
class Plan:
    """The duration of the warm-up and of the measurement in seconds, and the seed of arrivals."""

    warm_up_s: float
    seconds: float
    seed: int = 0


def measure(
    generator: Generator,
    statistics: TritonStatistics,
    endpoint: Endpoint,
    load: Load,
    plan: Plan,
    gpus: Gpus,
) -> Trial:
    """Load a server and return its figures.

    Raises:
        LoadError: the server does not respond, or no request succeeded.
    """
    whole = plan.warm_up_s + plan.seconds
    start = generator.begin(Job(endpoint.url, endpoint.pipeline, load, whole, plan.seed))
    gpus.watch_until(start + plan.warm_up_s)
    before, note = _read(statistics)
    cpu = cpu_seconds(endpoint.pid) if endpoint.pid else 0.0
    seen = gpus.watch_until(start + whole)
    used = cpu_seconds(endpoint.pid) - cpu if endpoint.pid else 0.0
    after, _ = _read(statistics)
    outcome = generator.end()
    figures = summarize(outcome, load, plan)
    answered = round(figures.images_per_s.value * plan.seconds)
    seen_stages = stages(endpoint.pipeline, before, after)
    notes = (note, ONE_MODEL if len(seen_stages) == 1 else None, None if endpoint.pid else NOT_OURS)
    return replace(
        figures,
        stages=seen_stages,
        server=server_use(endpoint.pid, used, plan.seconds, answered) if endpoint.pid else None,
        gpus=seen,
        notes=tuple(filter(None, notes)),
    )


def summarize(outcome: Outcome, load: Load, plan: Plan) -> Trial:
    """Return the figures of a run's requests; the fields about the server are empty.

    Raises:
        LoadError: no request succeeded after the warm-up.
    """
    every, start, end = outcome.samples, plan.warm_up_s, plan.warm_up_s + plan.seconds
    kept = every.since(start)
    good = kept.answered
    latencies = kept.latencies[good]
    if not len(latencies):
        raise LoadError(
            f"no request succeeded in the {plan.seconds:g} s after the warm-up: make "
            "--duration longer"
        )
    steady = steadiness(kept.scheduled[good], latencies, kept.done[good], start, end)
    failed = Counter(error for error in kept.errors if error)
    # Throughput counts responses by arrival: those to late requests of the warm-up, but not those
    # after the end.
    done, boxes = every.done[every.answered], every.boxes[every.answered]
    images = _at_least_0(stats.rate(done, start, end))
    return Trial(
        load=load,
        warm_up_s=plan.warm_up_s,
        seconds=plan.seconds,
        seed=plan.seed,
        requests=len(kept.sent),
        failed=dict(failed),
        messages={name: kept.messages[name] for name in failed},
        images_per_s=images,
        boxes_per_s=_at_least_0(stats.rate(done, start, end, boxes)),
        boxes_per_image=_distribution(kept.boxes[good].astype(np.float64)),
        latency_ms=percentiles_ms(latencies),
        latency_mean_ms=float(latencies.mean()) * 1e3,
        send_lag_ms=_distribution(kept.lag * 1e3) if isinstance(load, Open) else None,
        streams=_streams(images.value, latencies, not failed, steady),
        steady=steady,
        void=void_reason(kept, load, outcome.cpu_share),
        generator_cpu=outcome.cpu_share,
        stages=(),
        server=None,
        gpus=(),
        notes=(),
        samples=_columns(every),
    )


def percentiles_ms(latencies: NDArray[np.float64]) -> dict[str, Estimate | None]:
    """Return p50 to p99.9 in milliseconds, by name, of latencies in seconds."""
    found = {f"p{percent:g}": stats.percentile(latencies, percent) for percent in PERCENTILES}
    return {name: value and value.scaled(1e3) for name, value in found.items()}


def _read(statistics: TritonStatistics) -> tuple[Mapping[str, Counters], str | None]:
    try:
        return statistics.read(), None
    except StatisticsError as error:
        return {}, str(error)


def _at_least_0(estimate: Estimate) -> Estimate:
    """Clip the interval of a rate at 0, below which its t statistic can reach."""
    return replace(estimate, low=None if estimate.low is None else max(0.0, estimate.low))


def _distribution(values: NDArray[np.float64]) -> Distribution:
    p50, p99 = np.percentile(values, [50, 99])
    return Distribution(float(values.mean()), float(p50), float(p99), float(values.max()))


def _streams(
    rate: float, latencies: NDArray[np.float64], all_answered: bool, steady: Steadiness
) -> Streams:
    late = float((latencies > FRAME_S).mean())
    kept_up = math.floor(rate * FRAME_S) if all_answered and not steady.growing else 0
    return Streams(kept_up, late, 0 if late else kept_up)


def _columns(samples: Samples) -> Columns:
    scheduled, sent, done = (
        tuple(np.round(column, 6).tolist())
        for column in (samples.scheduled, samples.sent, samples.done)
    )
    return Columns(scheduled, sent, done, tuple(samples.boxes.tolist()), samples.errors)
