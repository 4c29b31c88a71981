"""Plots of results, each with a sentence on how to read it. Plots without data are left out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from boxwise_perf.load import Closed, Open
from boxwise_perf.result import Comparison, Result, Trial
from boxwise_perf.stats import Estimate
from boxwise_perf.triton_statistics import Stage

_PARTS = {
    "queue": "#ff9f0e",
    "input": "#9ecae1",
    "infer": "#1f77b4",
    "output": "#3b6a90",
}  # of Stage, `<part>_ms`
_PERCENTILES = {"p50": "#1f77b4", "p99": "#d62728"}
_WIDTH_IN, _DPI = 8.0, 110
_BAR = 0.4  # of a row's width
_LEAST_QUEUE_MS = 0.05  # of a pipeline that is shown: an ensemble itself has no queue


@dataclass(frozen=True)
class Plot:
    """A drawn plot.

    Attributes:
        name: of its file, without suffix.
        title: its heading.
        reading: how to read it.
        png: the image file.
    """

    name: str
    title: str
    reading: str
    png: bytes


def plots(results: Sequence[Result]) -> Iterator[Plot]:
    """Yield every plot that the results have data for."""
    yield from _latency(results)
    for number, (name, trial) in enumerate(_shown(results)):
        yield from _stages(number, name, trial)
        yield from _fill(number, name, trial)
        yield from _requests(number, name, trial)
    yield from _comparisons([each for result in results for each in result.comparisons])


def every_trial(result: Result) -> tuple[Trial, ...]:
    """Return the trials of a run, and those of a search."""
    return result.trials + tuple(each.trial for each in (result.slo.tries if result.slo else ()))


def name_of(result: Result) -> str:
    """Return the name of a result in legends."""
    return str(result.target) if result.target else "comparison"


def _shown(results: Sequence[Result]) -> Iterator[tuple[str, Trial]]:
    """Yield the name and trial of each result's highest throughput; void trials do not count."""
    for result in results:
        valid = [trial for trial in every_trial(result) if not trial.void]
        if valid:
            heaviest = max(valid, key=lambda trial: trial.images_per_s.value)
            yield f"{name_of(result)}, {heaviest.load}", heaviest


def _latency(results: Sequence[Result]) -> Iterator[Plot]:
    for mode, kind, label in (
        ("open", Open, "images/s that arrive, independent of responses"),
        ("closed", Closed, "images/s, with more requests in flight to the right"),
    ):
        curves = [
            (
                name_of(result),
                sorted((t for t in every_trial(result) if isinstance(t.load, kind)), key=_load),
            )
            for result in results
        ]
        curves = [(name, trials) for name, trials in curves if trials]
        if not curves or max(len(trials) for _, trials in curves) < 2:
            continue

        def draw(axes: Any, curves: Any = curves, label: str = label) -> None:
            for (name, trials), line in zip(
                curves, ["-", "--", ":", "-."] * len(curves), strict=False
            ):
                for percentile, colour in _PERCENTILES.items():
                    _curve(axes, trials, percentile, colour, line, f"{percentile}, {name}")
            axes.set(xlabel=label, ylabel="latency, ms (log)", yscale="log")
            for which in ("major", "minor"):
                getattr(axes.yaxis, f"set_{which}_formatter")("{x:g}")
            axes.legend(fontsize=8)
            axes.grid(alpha=0.3, which="both")

        yield _drawn(
            f"latency_{mode}",
            f"Latency against load, {mode} loop",
            "Each point is one load, its bar the 95 % interval; right is more throughput, lower is "
            "faster. Where a curve turns up, requests are queued: serve to the left of it. "
            "Hollow points are void runs.",
            draw,
        )


def _load(trial: Trial) -> float:
    return trial.load.rate if isinstance(trial.load, Open) else trial.load.concurrency


def _curve(
    axes: Any, trials: Sequence[Trial], percentile: str, colour: str, line: str, label: str
) -> None:
    points = [(trial, value) for trial in trials if (value := trial.latency_ms[percentile])]
    x = [
        trial.load.rate if isinstance(trial.load, Open) else trial.images_per_s.value
        for trial, _ in points
    ]
    axes.plot(
        x, [value.value for _, value in points], line, color=colour, label=label, linewidth=1.2
    )
    for place, (trial, value) in zip(x, points, strict=True):
        axes.errorbar(
            [place],
            [value.value],
            _bars([value]),
            fmt="o",
            color=colour,
            markerfacecolor="white" if trial.void else colour,
            capsize=3,
        )


def _stages(number: int, name: str, trial: Trial) -> Iterator[Plot]:
    # The pipeline is the sum of its stages, except for the queue of a pipeline of one model.
    whole = [stage for stage in trial.stages if not stage.name]
    inside = [stage for stage in trial.stages if stage.name]
    waiting = [
        replace(stage, input_ms=0.0, infer_ms=0.0, output_ms=0.0)
        for stage in whole
        if stage.queue_ms > _LEAST_QUEUE_MS
    ]
    stages = [*waiting, *inside] if inside else whole
    if not stages:
        return

    def draw(axes: Any) -> None:
        left = np.zeros(len(stages))
        for part, colour in _PARTS.items():
            widths = np.array([getattr(stage, f"{part}_ms") for stage in stages])
            axes.barh(_names(stages), widths, left=left, color=colour, label=part)
            left += widths
        axes.invert_yaxis()
        axes.set(xlabel="ms per request, mean")
        axes.legend(fontsize=8)

    yield _drawn(
        f"stages_{number}",
        f"Where the time of a request goes: {name}",
        "Improve the longest bar first. A long queue means too few instances, or no free core. "
        "Input and output are the copying of tensors. Stages that run in parallel add up to more "
        "than the request took.",
        draw,
        1.2 + 0.4 * len(stages),
    )


def _fill(number: int, name: str, trial: Trial) -> Iterator[Plot]:
    stages = [stage for stage in trial.stages if stage.name and stage.max_batch > 1]
    if not stages:
        return

    def draw(axes: Any) -> None:
        for place, stage in enumerate(stages):
            sizes = sorted(stage.batches)
            shares = [stage.batches[size] / stage.executions for size in sizes]
            label = (
                f"{stage.name}: {stage.mean_batch:.1f} rows of {stage.max_batch}, "
                f"{stage.fill:.0%} full"
            )
            offset = _BAR * (place - (len(stages) - 1) / 2)
            axes.bar(np.array(sizes) + offset, shares, _BAR, label=label)
        axes.set(xlabel="rows of one execution", ylabel="share of executions", ylim=(0, 1.05))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8)

    yield _drawn(
        f"batches_{number}",
        f"How full the batches are: {name}",
        "A bar at 1 is a model that runs one row at a time. A detector's rows are images, a "
        "classifier's are boxes. Fuller batches pay off on a GPU, and hardly on a CPU.",
        draw,
    )


def _requests(number: int, name: str, trial: Trial) -> Iterator[Plot]:
    if trial.samples is None:
        return
    scheduled, done = np.array(trial.samples.scheduled), np.array(trial.samples.done)
    good = np.array([not error for error in trial.samples.errors])

    def draw(axes: Any) -> None:
        axes.plot(scheduled[good], (done - scheduled)[good] * 1e3, ".", markersize=3, alpha=0.5)
        if not good.all():
            axes.plot(
                scheduled[~good],
                (done - scheduled)[~good] * 1e3,
                "x",
                color="#d62728",
                label="failed",
            )
            axes.legend(fontsize=8)
        axes.axvspan(0, trial.warm_up_s, color="#dddddd")
        axes.set(xlabel="seconds; grey: warm-up, discarded", ylabel="latency, ms")
        axes.set_ylim(bottom=0)

    yield _drawn(
        f"requests_{number}",
        f"Every request: {name}",
        "A level band is a steady run. A slope is a growing queue, or a warm-up that was too "
        "short; a gap with a comb above it is a stall.",
        draw,
    )


def _comparisons(found: Sequence[Comparison]) -> Iterator[Plot]:
    if not found:
        return
    rows = [
        (f"{name}: {each.b} / {each.a}", ratio)
        for each in found
        for name, ratio in (("images/s", each.throughput), ("p50", each.latency_p50))
    ]

    def draw(axes: Any) -> None:
        values = [(ratio.value - 1) * 100 for _, ratio in rows]
        bars = _bars([ratio for _, ratio in rows]) * 100
        axes.barh([label for label, _ in rows], values, xerr=bars, color="#9ecae1", capsize=4)
        axes.axvline(0, color="black", linewidth=1)
        axes.invert_yaxis()
        axes.set(xlabel="B relative to A, %")

    yield _drawn(
        "comparison",
        "B against A",
        "If the black interval crosses 0, no difference was found. More images/s are better, a "
        "longer p50 is worse. A bar without an interval compares results that were measured apart; "
        "under 15 % it means nothing.",
        draw,
        1.5 + 0.5 * len(rows),
    )


def _bars(estimates: Sequence[Estimate]) -> Any:
    """Return the lengths of the error bars, [2, n]: below, above; 0 without a bound."""
    return np.array(
        [
            [0.0 if each.low is None else each.value - each.low for each in estimates],
            [0.0 if each.high is None else each.high - each.value for each in estimates],
        ]
    )


def _names(stages: Sequence[Stage]) -> list[str]:
    return [stage.name or "(pipeline)" for stage in stages]


def _drawn(
    name: str, title: str, reading: str, draw: Callable[[Any], None], height: float = 4.0
) -> Plot:
    from matplotlib.figure import Figure  # without pyplot: no window, no state

    figure = Figure(figsize=(_WIDTH_IN, height), layout="tight")
    draw(figure.add_subplot())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return Plot(name, title, reading, file.getvalue())
