"""Results as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Sequence

from boxwise_perf.plots import Plot, every_trial, name_of
from boxwise_perf.result import Result, Trial
from boxwise_perf.stats import Estimate
from boxwise_perf.tune import Tuning

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: .5rem 0 1rem }
table { font-variant-numeric: tabular-nums } th { font-weight: 600 }
td, th { white-space: nowrap; padding: .2rem .45rem; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child, .words td, .words th { text-align: left; white-space: normal }
small { color: #666 } figure { margin: 1.5rem 0 } img { max-width: 100%; height: auto } .bad { color: #b00 }
"""


def render(results: Sequence[Result], plots: Iterable[Plot]) -> str:
    """The page, as text.

    Args:
        results: of one machine.
        plots: of the same results.
    """
    body = ["<h1>boxwise perf</h1>"]
    for result in results:
        body += _result(result)
    body += [_figure(plot) for plot in plots]
    body += ["<h2>Machine and versions</h2>", *_machine(results)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>boxwise perf</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _result(result: Result) -> Iterator[str]:
    if trials := every_trial(result):
        yield f"<h2>{html.escape(name_of(result))}</h2>"
        if result.slo:
            found = f"{result.slo.rate:.1f} images/s hold it" if result.slo.rate else "no rate was confirmed to hold it"
            yield f"<p>p99 within {result.slo.p99_ms:g} ms: <strong>{found}</strong>.</p>"
        yield _trials(trials)
        first = trials[0]
        yield (
            f"<p><small>{html.escape(str(result.pictures))}. Latency counts from the scheduled send to the last byte; "
            f"95 % intervals are in brackets. The first {first.warm_up_s:g} s of each load were discarded.</small></p>"
        )
        notes = dict.fromkeys(note for trial in trials for note in trial.notes)  # each once
        yield from (f"<p><small>{html.escape(note)}.</small></p>" for note in notes)
        yield from (f'<p class="bad">{html.escape(line)}</p>' for trial in trials for line in _warnings(trial))
    if result.tuning:
        yield from _tuning(result.tuning)
    if result.comparisons:
        yield "<h2>Comparison</h2>"
        rows = [
            (str(each.a), str(each.b), str(each.load), str(len(each.pairs)), each.verdict)
            for each in result.comparisons
        ]
        yield _table(("A", "B", "load", "pairs of blocks", "verdict"), rows, "words")


def _tuning(found: Tuning) -> Iterator[str]:
    yield f"<h2>Tuning: {html.escape(found.objective)}</h2>"
    best = f"best: {found.best.describe()}, {found.gain.value:.2f} times what was served"
    if found.best == found.first:
        best = f"nothing is surely better than {found.first.describe()}"
    yield f"<p><strong>{html.escape(best)}</strong>.</p>"
    rows = [
        (each.change, f"{each.score:.1f}", _interval(each.ratio, 3), "taken" if each.taken else "")
        for each in found.tried
    ]
    yield _table(("tried", "score", "against the best so far", ""), rows)


def _trials(trials: Sequence[Trial]) -> str:
    names = ("p50", "p90", "p99", "p99.9")
    head = ("load", "seconds", "requests", "failed", "images/s", "boxes/s", *(f"{name} ms" for name in names))
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
    told = [column for column in columns if any(column[1:])]
    return _table([column[0] for column in told], zip(*(column[1:] for column in told), strict=True))


def _warnings(trial: Trial) -> Iterator[str]:
    if trial.void:
        yield f"{trial.load} is void: {trial.void}"
    elif trial.steady.steady is False:
        yield f"{trial.load} was not steady: {trial.steady.advice}"
    yield from (f"{trial.load}: {count} {name}: {trial.messages[name]}" for name, count in trial.failed.items())


def _machine(results: Sequence[Result]) -> Iterator[str]:
    for result in results[:1]:
        machine = result.machine
        facts = {
            "CPU": machine.cpu,
            "cores": str(machine.cores),
            "memory": f"{machine.memory_gib} GiB",
            "kernel": machine.kernel,
            "GPUs": ", ".join(sorted({gpu.name for trial in every_trial(result) for gpu in trial.gpus})),
        }
        yield _table(("", ""), [(name, value) for name, value in facts.items() if value], "words")
    head = ("", *(f"{name_of(result)}, {result.created}" for result in results))
    packages = sorted({name for result in results for name in result.machine.packages})
    rows = [("Python", *(result.machine.python for result in results))]
    rows += [(name, *(result.machine.packages.get(name, "") for result in results)) for name in packages]
    targets = [result.target.digests if result.target else {} for result in results]
    graphs = sorted({name for digests in targets for name in digests})
    rows += [(f"graph {name}", *(digests.get(name, "")[:12] for digests in targets)) for name in graphs]
    yield _table(head, rows, "words")


def _interval(estimate: Estimate | None, digits: int = 1) -> str:
    if estimate is None:
        return ""
    low, high = ("?" if bound is None else f"{bound:.{digits}f}" for bound in (estimate.low, estimate.high))
    return f"{estimate.value:.{digits}f}\n[{low}, {high}]"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        shown = (html.escape(cell).replace("\n", "<br>") for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in shown) + "</tr>"

    top = row(head, "th") if any(head) else ""
    return f'<table class="{kind}">{top}{"".join(row(cells, "td") for cells in rows)}</table>'


def _figure(plot: Plot) -> str:
    title, picture = html.escape(plot.title), base64.b64encode(plot.png).decode()
    return (
        f'<h2>{title}</h2><figure><img alt="{title}" src="data:image/png;base64,{picture}">'
        f"<figcaption>{html.escape(plot.reading)}</figcaption></figure>"
    )
