"""Plots of results, each only where there are data for it, each with a sentence that says how to
read it.
"""

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
_WAIT_MS = 0.05  # of a pipeline, from which on it is shown: an ensemble itself does not wait


@dataclass(frozen=True)
class Plot:
    """A drawn plot.

    Attributes:
        name: of its file, without suffix.
        title: what is drawn.
        reading: how to read it, a sentence or two.
        png: the image.
    """

    name: str
    title: str
    reading: str
    png: bytes


def plots(results: Sequence[Result]) -> Iterator[Plot]:
    """Everything that these results can show."""
    yield from _latency(results)
    for number, (name, trial) in enumerate(_shown(results)):
        yield from _stages(number, name, trial)
        yield from _fill(number, name, trial)
        yield from _requests(number, name, trial)
    yield from _comparisons([each for result in results for each in result.comparisons])


def every_trial(result: Result) -> tuple[Trial, ...]:
    """The trials of a run, or those of a search."""
    return result.trials + tuple(each.trial for each in (result.slo.tries if result.slo else ()))


def name_of(result: Result) -> str:
    """What was measured, as a legend has it."""
    return str(result.target) if result.target else "comparison"


def _shown(results: Sequence[Result]) -> Iterator[tuple[str, Trial]]:
    """The trials that are drawn one by one: of each result the heaviest load that counts, or its
    last.
    """
    for result in results:
        counting = [trial for trial in every_trial(result) if not trial.void]
        if counting:
            heaviest = max(counting, key=lambda trial: trial.images_per_s.value)
            yield f"{name_of(result)}, {heaviest.load}", heaviest


def _latency(results: Sequence[Result]) -> Iterator[Plot]:
    for mode, kind, label in (
        ("open", Open, "images/s that arrive, whether or not earlier ones are answered"),
        ("closed", Closed, "images/s answered, more requests in flight further right"),
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
            "Each point is one load, its bar the 95 % interval; further right is more work "
            "done, lower is faster. "
            "Where a curve turns up, requests wait for each other: serve to the left of it. "
            "Hollow points: void runs.",
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
    # The pipeline is the sum of its stages, but for the wait that one model has for all of them.
    whole = [stage for stage in trial.stages if not stage.name]
    inside = [stage for stage in trial.stages if stage.name]
    waiting = [
        replace(stage, input_ms=0.0, infer_ms=0.0, output_ms=0.0)
        for stage in whole
        if stage.queue_ms > _WAIT_MS
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
        axes.set(xlabel="ms a request, mean")
        axes.legend(fontsize=8)

    yield _drawn(
        f"stages_{number}",
        f"Where the time of a request goes: {name}",
        "The longest bar is where to begin. Much queue: the stage has too few instances or "
        "no free core. Much input or "
        "output: tensors on their way. Stages that run side by side add up to more than the "
        "request took.",
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
        "Bars at 1 are a model that sees one row at a time. A detector's rows are images, a "
        "classifier's are boxes. "
        "Fuller batches pay on a GPU, and hardly on a CPU.",
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
        "A level band is a steady run. A slope says that requests wait longer and longer, "
        "or that the warm-up was too "
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
        axes.set(xlabel="difference of B to A, %")

    yield _drawn(
        "comparison",
        "B against A",
        "Where the black interval crosses 0, no difference was found. More images/s is "
        "better, a longer p50 is worse. "
        "A bar without an interval compares results that were measured apart, and under 15 "
        "% says nothing.",
        draw,
        1.5 + 0.5 * len(rows),
    )


def _bars(estimates: Sequence[Estimate]) -> Any:
    """What lies below and above each value, [2, n]; nothing where the sample gives no bound."""
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
