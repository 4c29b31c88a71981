"""`boxwise perf tune`: the best layout, instances, threads and batches on this machine."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from boxwise_cli.exits import USAGE, fail, needs, reported
from boxwise_cli.options import (
    AsJson,
    Images,
    Out,
    Seed,
    ServedPipeline,
    Synthetic,
    Target,
    Timeout,
    WarmUp,
    concurrencies,
    duration,
    latency,
)
from boxwise_cli.perf_bench import keep, measuring, prepare, read_workload
from boxwise_cli.printing import console, note
from boxwise_runtime.targets import EMBEDDED

if TYPE_CHECKING:
    from boxwise_perf.tune import Tried, Tuning
    from boxwise_runtime.launcher import ServerOptions


def tune(
    repository: Annotated[
        Path,
        typer.Argument(
            metavar="REPO", help="The model repository; the best becomes its next revision."
        ),
    ],
    pipeline: ServedPipeline = None,
    goal: Annotated[
        Literal["throughput", "latency"],
        typer.Option(help="Images/s, or the latency of a single request."),
    ] = "throughput",
    p99: Annotated[
        float | None,
        typer.Option(
            "--p99",
            metavar="TIME",
            parser=latency,
            help="Latency that must hold, for the goal throughput.",
        ),
    ] = None,
    images: Images = None,
    synthetic: Synthetic = None,
    concurrency: Annotated[
        list[str],
        typer.Option(
            metavar="N[,N]", help="Requests in flight for the goal throughput; the best counts."
        ),
    ] = ["4", "8"],  # noqa: B006 (typer's defaults are lists)
    pairs: Annotated[int, typer.Option(min=6, help="Pairs of blocks per candidate.")] = 6,
    block: Annotated[
        float, typer.Option(metavar="TIME", parser=duration, help="Duration of a block.")
    ] = "1s",  # type: ignore[assignment]
    warm_up: WarmUp = "2s",  # type: ignore[assignment]
    budget: Annotated[
        float,
        typer.Option(metavar="TIME", parser=duration, help="No candidate starts after this time."),
    ] = "15min",  # type: ignore[assignment]
    target: Target = EMBEDDED,
    server: Annotated[
        Path | None, typer.Option(metavar="PATH", help="As for `boxwise serve`.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Search without publishing.")] = False,
    timeout: Timeout = "60s",  # type: ignore[assignment]
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Search layouts, instances, threads, batch limits and queue delays, and publish the best.

    Each candidate runs beside the best so far, in pairs of blocks. The winner becomes the
    repository's next revision (`boxwise rollback` goes back), unless --dry-run. If nothing is
    better with confidence, nothing changes. Prints what to write into the pipeline file.
    """
    prepare(out)
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.repository.manifest import find_manifest
        from boxwise_export.repository.publish import change_layout
        from boxwise_perf.tuner import Tuner, served_now

    from boxwise_perf.generator import Generator
    from boxwise_perf.result import LoadTarget, new
    from boxwise_perf.tune import Objective
    from boxwise_runtime.launcher import ServerOptions

    if goal == "latency" and p99 is not None:
        fail("--p99 is of the goal throughput: leave out one of the two", USAGE)
    loads = (1,) if goal == "latency" else tuple(concurrencies(concurrency))
    objective = Objective(goal, None if p99 is None else p99 * 1e3, loads)
    workload = read_workload(images, synthetic, None, seed, running=False)

    def options(folder: Path) -> "ServerOptions":
        return replace(ServerOptions.on_free_ports(folder), target=target, server=server)

    with reported(ExportError), measuring():
        manifest = find_manifest(repository, pipeline)
        name = manifest.pipeline
        note(f"{objective}; from {served_now(manifest).describe()}")
        with (
            Generator(workload.requests, timeout) as generator,
            Tuner(
                repository,
                name,
                generator,
                objective,
                options,
                pairs=pairs,
                block_s=block,
                warm_up_s=warm_up,
            ) as tuner,
        ):
            found = tuner.search(manifest, target, budget, _report)
        result = new(LoadTarget(name, str(repository), None, {}), workload.images, tuning=found)
        keep(result, out, as_json=as_json)
        if not as_json:
            _show(found)
        if found.best != found.first and not dry_run:
            for line in change_layout(repository, name, found.best).lines():
                typer.echo(line, err=as_json)


def _report(tried: "Tried") -> None:
    note(f"  {tried.change}: {_ratio(tried)}")


def _ratio(tried: "Tried") -> str:
    low, high = tried.ratio.low, tried.ratio.high
    bounds = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{tried.ratio.value:.3f}{bounds}"


def _show(found: "Tuning") -> None:
    from boxwise_perf.tuner import pipeline_lines

    table = Table(
        "tried", "against the best so far", "", title=found.objective, title_justify="left"
    )
    for each in found.tried:
        table.add_row(each.change, _ratio(each), "taken" if each.taken else "")
    console().print(table)
    if not found.complete:
        typer.echo("the time ran out before every candidate was measured: raise --budget")
    if found.best == found.first:
        typer.echo(f"no configuration is better, with confidence, than {found.first.describe()}")
        return
    low = found.gain.low or found.gain.value
    typer.echo(
        f"best: {found.best.describe()}, {found.gain.value:.2f} times what was served (at "
        f"least {low:.2f})"
    )
    typer.echo("for the pipeline file:\n" + pipeline_lines(found.best))
