"""Results of `perf` as tables on a terminal, with notes and conditions."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from boxwise_cli.printing import console

if TYPE_CHECKING:
    from boxwise_perf.result import Result, Slo, Trial
    from boxwise_perf.stats import Estimate


def show_trials(result: "Result", trials: "Sequence[Trial]") -> None:
    """Print a row per load, then the stages and notes of each."""
    out = console()
    table = Table(
        "load",
        "images/s",
        "boxes/s",
        "p50 ms",
        "p90",
        "p99",
        "p99.9",
        "cores",
        "MiB",
        title=str(result.target or ""),
        title_justify="left",
    )
    for trial in trials:
        use = trial.server
        table.add_row(
            str(trial.load),
            interval(trial.images_per_s),
            f"{trial.boxes_per_s.value:.1f}",
            *(interval(trial.latency_ms[name]) for name in ("p50", "p90", "p99", "p99.9")),
            f"{use.cpu_cores:.2f}" if use else "-",
            f"{use.memory_mib:.0f}" if use else "-",
        )
    out.print(table)
    for trial in trials:
        if trial.stages:
            out.print(_stages(trial))
        for line in _notes(trial):
            show_line(line)
    show_conditions(result, trials)


def show_conditions(result: "Result", trials: "Sequence[Trial]") -> None:
    """Print the conditions of the measurement: load, images, machine and versions."""
    if trials:
        first = trials[0]
        sent = "scheduled send" if first.send_lag_ms else "send"
        requests = ", ".join(str(trial.requests) for trial in trials)
        show_line(
            f"latency from the {sent} to the last byte, [95 % intervals]; {requests} requests in "
            f"{first.seconds:g} s after {first.warm_up_s:g} s of warm-up, seed {first.seed}"
        )
    for line in (result.pictures, result.machine):
        if line:
            show_line(str(line))


def show_line(line: str) -> None:
    """Print a line as it is, unwrapped."""
    console().print(line, markup=False, highlight=False, soft_wrap=True)


def show_slo(slo: "Slo") -> None:
    """Print a row per try of the search."""
    table = Table(
        "",
        "rate/s",
        "images/s",
        "p50 ms",
        "p99 ms",
        "held",
        title=f"p99 within {slo.p99_ms:g} ms",
        title_justify="left",
    )
    for each in slo.tries:
        trial = each.trial
        table.add_row(
            each.phase,
            f"{each.rate:.1f}",
            f"{trial.images_per_s.value:.1f}",
            interval(trial.latency_ms["p50"]),
            interval(trial.latency_ms["p99"]),
            "yes" if each.held else f"no: {each.why}",
        )
    console().print(table)


def interval(estimate: "Estimate | None", digits: int = 1) -> str:
    r"""Return "12.1" over "[11.8, 12.4]"; "-" for no estimate, and "?" for a missing bound."""
    if estimate is None:
        return "-"
    low, high = (
        "?" if bound is None else f"{bound:.{digits}f}" for bound in (estimate.low, estimate.high)
    )
    value = f"{estimate.value:.{digits}f}"
    return value if low == high == "?" else f"{value}\n\\[{low}, {high}]"


def _stages(trial: "Trial") -> Table:
    table = Table(
        "stage",
        "requests",
        "batch",
        "queue",
        "input",
        "infer",
        "output",
        "all",
        title=f"{trial.load}: ms per request",
        title_justify="left",
    )
    for stage in trial.stages:
        fill = f" of {stage.max_batch}" if stage.max_batch else ""
        parts = (stage.queue_ms, stage.input_ms, stage.infer_ms, stage.output_ms, stage.total_ms)
        table.add_row(
            stage.name or "(pipeline)",
            str(stage.requests),
            f"{stage.mean_batch:.1f}{fill}",
            *(f"{part:.2f}" for part in parts),
        )
    return table


def _notes(trial: "Trial") -> Iterable[str]:
    boxes, streams = trial.boxes_per_image, trial.streams
    yield (
        f"boxes per image: {boxes.mean:.1f} mean, {boxes.p50:.0f} p50, {boxes.p99:.0f} p99, "
        f"{boxes.max:.0f} max"
    )
    yield (
        f"30 fps streams kept up with: {streams.kept_up}; with no frame later than 33.3 ms: "
        f"{streams.held} ({streams.late_share:.1%} of the frames were later)"
    )
    if lag := trial.send_lag_ms:
        yield f"sent late by {lag.p50:.2f} ms p50, {lag.p99:.2f} p99, {lag.max:.2f} max"
    for gpu in trial.gpus:
        power = "" if gpu.power_w is None else f", {gpu.power_w:.0f} W"
        yield f"{gpu.name}: {gpu.utilization:.0f} % busy, {gpu.memory_mib:.0f} MiB{power}"
    for name, count in trial.failed.items():
        yield f"failed: {count} {name}, the first: {trial.messages[name]}"
    if trial.steady.advice:
        yield (
            f"not steady (latency {trial.steady.latency_change:+.0%}, rate "
            f"{trial.steady.rate_change:+.0%}): {trial.steady.advice}"
            if trial.steady.steady is False
            else f"steadiness unknown: {trial.steady.advice}"
        )
    yield from (f"note: {note}" for note in trial.notes)
