"""`boxwise perf tune`: the best layout, processes and threads of a pipeline on this machine."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from boxwise_cli.exits import USAGE, fail, needs, reported
from boxwise_cli.perf_bench import content, keep, prepare
from boxwise_cli.perf_options import (
    AsJson,
    Images,
    Out,
    Pipeline,
    Seed,
    Synthetic,
    Timeout,
    WarmUp,
    concurrencies,
    duration,
)
from boxwise_cli.perf_options import latency as a_latency
from boxwise_cli.target import Target
from boxwise_runtime import targets
from boxwise_runtime.targets import EMBEDDED

if TYPE_CHECKING:
    from boxwise_export.repository.serving_config import ServingConfig
    from boxwise_perf.images import Request
    from boxwise_perf.tune import Objective, Tried, Tuning
    from boxwise_runtime.launcher import ServerOptions


def tune(
    repository: Annotated[
        Path,
        typer.Argument(
            metavar="REPO", help="The model repository; the best becomes its next revision."
        ),
    ],
    pipeline: Pipeline = None,
    goal: Annotated[
        Literal["throughput", "latency"],
        typer.Option(help="Images/s, or the latency of a single request."),
    ] = "throughput",
    p99: Annotated[
        float | None,
        typer.Option(
            "--p99",
            metavar="TIME",
            parser=a_latency,
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
    surely better, nothing changes. Prints what to write into the pipeline file.
    """
    prepare(out)
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.repository.publish import change_layout

    from boxwise import BoxwiseError
    from boxwise_perf.load import LoadError
    from boxwise_perf.machine import Machine
    from boxwise_perf.result import FORMAT, LoadTarget, Result, now
    from boxwise_perf.stats import CONFIDENCE
    from boxwise_perf.tune import Objective
    from boxwise_runtime.launcher import LaunchError

    if goal == "latency" and p99 is not None:
        fail("--p99 is of the goal throughput: leave out one of the two", USAGE)
    loads = (1,) if goal == "latency" else tuple(concurrencies(concurrency))
    objective = Objective(goal, None if p99 is None else p99 * 1e3, loads)
    sent = content(images, synthetic, None, seed)
    with reported(ExportError, LaunchError, LoadError, BoxwiseError, OSError):
        search = _Search(objective, pairs, block, warm_up, budget, timeout, target, server)
        name, found = search.run(repository, pipeline, sent.requests)
        said = LoadTarget(name, str(repository), None, {})
        keep(
            Result(FORMAT, now(), Machine.here(), said, sent.images, CONFIDENCE, tuning=found),
            out,
            as_json=as_json,
        )
        if not as_json:
            _show(found)
        if found.best != found.first and not dry_run:
            for line in change_layout(repository, name, found.best).lines():
                typer.echo(line, err=as_json)


@dataclass(frozen=True)
class _Search:
    """What a search is given; the names are those of the options."""

    objective: "Objective"
    pairs: int
    block: float
    warm_up: float
    budget: float
    timeout: float
    target: "targets.Target"
    server: Path | None

    def run(
        self, repository: Path, pipeline: str | None, requests: "Sequence[Request]"
    ) -> "tuple[str, Tuning]":
        """The pipeline's name, and what was found."""
        from boxwise_export.repository.layouts import stage_folders
        from boxwise_export.repository.manifest import find_manifest
        from boxwise_perf.generator import Generator
        from boxwise_perf.tune import climb, neighbours_of
        from boxwise_perf.tuner import Tuner
        from boxwise_runtime.resources import available

        manifest = find_manifest(repository, pipeline)
        name, models = manifest.pipeline, manifest.revision().models
        first = manifest.serving()
        first = replace(first, instances=first.served_instances)
        stages = [stage for stage in stage_folders(repository, name, models) if stage != "info"]
        typer.echo(f"{self.objective}; from {first.describe()}", err=True)
        with (
            Generator(requests, self.timeout) as generator,
            Tuner(
                repository,
                name,
                generator,
                self.objective,
                self._options,
                pairs=self.pairs,
                block_s=self.block,
                warm_up_s=self.warm_up,
            ) as tuner,
        ):
            found = climb(
                first,
                neighbours_of(stages, available().cores, self.target),
                tuner.measure,
                objective=str(self.objective),
                until=time.monotonic() + self.budget,
                report=_report,
            )
        return name, found

    def _options(self, repository: Path) -> "ServerOptions":
        from boxwise_runtime.launcher import ServerOptions

        return replace(
            ServerOptions.on_free_ports(repository), target=self.target, server=self.server
        )


def _report(tried: "Tried") -> None:
    typer.echo(f"  {tried.change}: {_times(tried)}", err=True)


def _times(tried: "Tried") -> str:
    low, high = tried.ratio.low, tried.ratio.high
    return f"{tried.ratio.value:.3f}" + (
        f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    )


def _show(found: "Tuning") -> None:
    from boxwise_cli.perf_show import console

    table = Table(
        "tried", "against the best so far", "", title=found.objective, title_justify="left"
    )
    for each in found.tried:
        table.add_row(each.change, _times(each), "taken" if each.taken else "")
    out = console()
    out.print(table)
    if not found.complete:
        typer.echo("the time was up before every neighbour was tried: allow more with --budget")
    if found.best == found.first:
        typer.echo(f"nothing is surely better than {found.first.describe()}")
        return
    low = found.gain.low or found.gain.value
    typer.echo(
        f"best: {found.best.describe()}, {found.gain.value:.2f} times what was served (at "
        f"least {low:.2f})"
    )
    typer.echo("for the pipeline file:\n" + pipeline_lines(found.best))


def pipeline_lines(serving: "ServingConfig") -> str:
    """What the pipeline file says of it."""
    import yaml

    settings = {key: value for key, value in asdict(serving).items() if value}
    layout = settings.pop("layout")
    settings.pop("max_batch_size", None)  # the detector's own key
    return str(yaml.safe_dump({"layout": layout, "serving": settings}, sort_keys=False)).rstrip()
