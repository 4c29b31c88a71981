"""Results as an HTML page of tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from boxwise_eval.html_page import Block, Figure, Heading, Paragraph, Table
from boxwise_eval.html_page import render as render_page
from boxwise_perf.plots import Plot, every_trial, name_of
from boxwise_perf.result import Result, Trial
from boxwise_perf.stats import Estimate
from boxwise_perf.tune import Tuning


def render(results: Sequence[Result], plots: Iterable[Plot]) -> str:
    """Return the page of results, all of one machine, and of their plots."""
    return render_page("boxwise perf", _blocks(results, plots))


def _blocks(results: Sequence[Result], plots: Iterable[Plot]) -> Iterator[Block]:
    for result in results:
        yield from _result(result)
    for plot in plots:
        yield Heading(plot.title)
        yield Figure(plot.png, "png", plot.reading)
    yield Heading("Machine and versions")
    yield from _machine(results)


def _result(result: Result) -> Iterator[Block]:
    if trials := every_trial(result):
        yield Heading(name_of(result))
        if result.slo:
            rate = result.slo.rate
            found = f"{rate:.1f} images/s hold it" if rate else "no rate was confirmed to hold it"
            yield Paragraph(f"p99 within {result.slo.p99_ms:g} ms:", bold=f"{found}.")
        yield _trials(trials)
        first = trials[0]
        yield Paragraph(
            f"{result.pictures}. Latency counts from the scheduled send to the last byte; "
            f"95 % intervals are in brackets. The first {first.warm_up_s:g} s of each load "
            "were discarded.",
            style="small",
        )
        notes = dict.fromkeys(note for trial in trials for note in trial.notes)
        yield from (Paragraph(f"{note}.", style="small") for note in notes)
        yield from (Paragraph(line, style="bad") for trial in trials for line in _warnings(trial))
    if result.tuning:
        yield from _tuning(result.tuning)
    if result.comparisons:
        yield Heading("Comparison")
        rows = [
            (str(each.a), str(each.b), str(each.load), str(len(each.pairs)), each.verdict)
            for each in result.comparisons
        ]
        yield Table(rows, ("A", "B", "load", "pairs of blocks", "verdict"), words=True)


def _tuning(found: Tuning) -> Iterator[Block]:
    yield Heading(f"Tuning: {found.objective}")
    best = f"best: {found.best.describe()}, {found.gain.value:.2f} times what was served"
    if found.best == found.first:
        best = f"no configuration is better, with confidence, than {found.first.describe()}"
    yield Paragraph("", bold=f"{best}.")
    rows = [
        (each.change, f"{each.score:.1f}", _interval(each.ratio, 3), "taken" if each.taken else "")
        for each in found.tried
    ]
    yield Table(rows, ("tried", "score", "against the best so far", ""))


def _trials(trials: Sequence[Trial]) -> Table:
    names = ("p50", "p90", "p99", "p99.9")
    head = (
        "load",
        "seconds",
        "requests",
        "failed",
        "images/s",
        "boxes/s",
        *(f"{name} ms" for name in names),
    )
    rows = []
    for trial in trials:
        use = trial.server
        rows.append(
            (
                str(trial.load),
                f"{trial.seconds:g}",
                str(trial.requests),
                str(sum(trial.failed.values())),
                _interval(trial.images_per_s),
                f"{trial.boxes_per_s.value:.1f}",
                *(_interval(trial.latency_ms[name]) for name in names),
                f"{use.cpu_cores:.2f}" if use else "",
                f"{use.memory_mib:.0f}" if use else "",
            )
        )
    columns = zip((*head, "CPU cores", "MiB"), *rows, strict=True)
    filled = [column for column in columns if any(column[1:])]
    return Table(
        list(zip(*(column[1:] for column in filled), strict=True)), [column[0] for column in filled]
    )


def _warnings(trial: Trial) -> Iterator[str]:
    if trial.void:
        yield f"{trial.load} is void: {trial.void}"
    elif trial.steady.steady is False:
        yield f"{trial.load} was not steady: {trial.steady.advice}"
    yield from (
        f"{trial.load}: {count} {name}: {trial.messages[name]}"
        for name, count in trial.failed.items()
    )


def _machine(results: Sequence[Result]) -> Iterator[Block]:
    for result in results[:1]:
        machine = result.machine
        facts = {
            "CPU": machine.cpu,
            "cores": str(machine.cores),
            "memory": f"{machine.memory_gib} GiB",
            "kernel": machine.kernel,
            "GPUs": ", ".join(
                sorted({gpu.name for trial in every_trial(result) for gpu in trial.gpus})
            ),
        }
        yield Table([(name, value) for name, value in facts.items() if value], words=True)
    head = ("", *(f"{name_of(result)}, {result.created}" for result in results))
    packages = sorted({name for result in results for name in result.machine.packages})
    rows = [("Python", *(result.machine.python for result in results))]
    rows += [
        (name, *(result.machine.packages.get(name, "") for result in results)) for name in packages
    ]
    targets = [result.target.digests if result.target else {} for result in results]
    graphs = sorted({name for digests in targets for name in digests})
    rows += [
        (f"graph {name}", *(digests.get(name, "")[:12] for digests in targets)) for name in graphs
    ]
    yield Table(rows, head, words=True)


def _interval(estimate: Estimate | None, digits: int = 1) -> str:
    if estimate is None:
        return ""
    low, high = (
        "?" if bound is None else f"{bound:.{digits}f}" for bound in (estimate.low, estimate.high)
    )
    return f"{estimate.value:.{digits}f}\n[{low}, {high}]"
