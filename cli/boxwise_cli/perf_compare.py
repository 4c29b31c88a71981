"""`boxwise perf compare`: A and B in turn, and how sure their difference is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from boxwise_cli.exits import USAGE, fail, reported
from boxwise_cli.perf_bench import bench, content, keep, prepare
from boxwise_cli.perf_options import (
    AsJson,
    Boxes,
    Images,
    Out,
    Pipeline,
    Seed,
    Synthetic,
    Timeout,
    WarmUp,
    duration,
)

if TYPE_CHECKING:
    from boxwise_cli.perf_bench import Bench
    from boxwise_perf.result import Block, Comparison, Result
    from boxwise_perf.trial import Endpoint


def compare(
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="REPO, HOST:PORT of a running server, or a result file."),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    pipeline: Pipeline = None,
    pipeline_b: Annotated[
        str | None, typer.Option(metavar="NAME", help="The pipeline of B, if it has another name.")
    ] = None,
    images: Images = None,
    synthetic: Synthetic = None,
    boxes: Boxes = None,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests in flight at the loaded server.")
    ] = 4,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of blocks per start.")] = 20,
    starts: Annotated[
        int,
        typer.Option(
            min=1,
            help="Start both servers this often, so that the interval covers starts; 6 or more.",
        ),
    ] = 1,
    block: Annotated[
        float, typer.Option(metavar="TIME", parser=duration, help="Duration of a block.")
    ] = "2s",  # type: ignore[assignment]
    warm_up: WarmUp = "2s",  # type: ignore[assignment]
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Confidence of the interval.")
    ] = 0.95,
    timeout: Timeout = "60s",  # type: ignore[assignment]
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure whether B is faster than A, and by how much.

    Both servers are up, and one at a time is loaded, in short blocks of random order. Each pair of
    blocks gives a ratio, in which a disturbance of both cancels; the interval is of their mean. It
    is about these two servers: use --starts to include how starts differ. For results measured
    apart, differences under 15 % mean nothing.
    """
    prepare(out)
    files = [Path(side).is_file() for side in (a, b)]
    if all(files):
        result = _apart(Path(a), Path(b))
    elif any(files):
        fail(
            "expected two results, or two of REPO and HOST:PORT: a result's file has no "
            "server to load",
            USAGE,
        )
    else:
        from boxwise_perf.compare import pooled, ratios, verdict
        from boxwise_perf.load import Closed
        from boxwise_perf.machine import Machine
        from boxwise_perf.result import FORMAT, Comparison, Result, now

        sides = [
            (*_side(side), name) for side, name in ((a, pipeline), (b, pipeline_b or pipeline))
        ]
        _check(starts, pairs, running=any(url for _, url, _ in sides))
        sent = content(images, synthetic, boxes, seed)
        of_starts = []
        for start in range(starts):
            with bench(sent, timeout) as own:
                (first, target_a), (second, target_b) = (own.add(*side) for side in sides)
                of_starts.append(
                    _measure(own, (first, second), concurrency, pairs, block, warm_up, seed + start)
                )
        found = tuple(map(pooled, of_starts)) if starts > 1 else of_starts[0]

        throughput, p50 = ratios(found, confidence)
        said = verdict(throughput, confidence)
        load = Closed(concurrency)
        comparison = Comparison(target_a, target_b, load, block, seed, found, throughput, p50, said)
        result = Result(
            FORMAT, now(), Machine.here(), None, sent.images, confidence, (), None, (comparison,)
        )
    keep(result, out, as_json=as_json)
    if not as_json:
        _show(result)


def _check(starts: int, pairs: int, *, running: bool) -> None:
    """End with a sentence where these have no interval, or cannot be had."""
    from boxwise_perf.compare import LEAST

    if (starts if starts > 1 else pairs) < LEAST:
        fail(
            f"expected {LEAST} --pairs, or --starts, at least: fewer have intervals that "
            "say nothing",
            USAGE,
        )
    if starts > 1 and running:
        fail("--starts is for repositories: a running server is not ours to start again", USAGE)


def _side(text: str) -> tuple[Path | None, str | None]:
    """A repository, or an address."""
    if Path(text).is_dir():
        return Path(text), None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        fail(
            f"{text}: is no folder, no file and no HOST:PORT: give a repository, a server's "
            "gRPC port or a result",
            USAGE,
        )
    return None, text


def _apart(a: Path, b: Path) -> "Result":
    from boxwise_perf.compare import unpaired
    from boxwise_perf.result import FORMAT, Result, ResultError, check_one_machine, load, now

    with reported(ResultError):
        one, other = load(a), load(b)
        check_one_machine([one, other])
        return Result(
            FORMAT, now(), one.machine, None, None, one.confidence, (), None, unpaired(one, other)
        )


def _measure(
    own: "Bench",
    sides: "tuple[Endpoint, Endpoint]",
    concurrency: int,
    pairs: int,
    seconds: float,
    warm_up: float,
    seed: int,
) -> "tuple[tuple[Block, Block], ...]":
    from boxwise_perf.compare import IMAGES_APART, block, interleave
    from boxwise_perf.generator import Job
    from boxwise_perf.load import Closed

    load = Closed(concurrency)

    def measure(side: int, number: int) -> "Block":
        where = sides[side]
        job = Job(where.url, where.pipeline, load, seconds, first=number * IMAGES_APART)
        return block(own.generator.run(job).samples)

    for where in sides:
        if warm_up:
            own.generator.run(Job(where.url, where.pipeline, load, warm_up))
    typer.echo(f"{pairs} pairs of blocks of {seconds:g} s at {load}", err=True)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("Comparing", total=pairs)
        return interleave(measure, pairs, seed, lambda: progress.advance(task))


def _show(result: "Result") -> None:
    from boxwise_cli.perf_show import console, show_conditions

    out = console()
    for each in result.comparisons:
        out.print(_table(each))
        out.print(each.verdict, markup=False, highlight=False, soft_wrap=True)
    show_conditions(result, [], out)


def _table(found: "Comparison") -> Table:
    from statistics import median

    from boxwise_cli.perf_show import interval

    how = (
        f"{len(found.pairs)} pairs of {found.block_s:g} s blocks"
        if found.block_s
        else "measured apart"
    )
    table = Table("", "A", "B", "B / A", title=f"{found.load}, {how}", title_justify="left")
    table.add_row("", str(found.a), str(found.b), "")
    for name, field, ratio in (
        ("images/s", "images_per_s", found.throughput),
        ("p50 ms", "p50_ms", found.latency_p50),
    ):
        sides = (median(getattr(pair[side], field) for pair in found.pairs) for side in (0, 1))
        table.add_row(name, *(f"{value:.1f}" for value in sides), interval(ratio, digits=3))
    return table
