"""`boxwise perf compare`: two servers measured in turn, or two results."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from boxwise_cli.exits import USAGE, fail
from boxwise_cli.options import (
    AsJson,
    Boxes,
    Images,
    Out,
    Seed,
    ServedPipeline,
    Synthetic,
    Timeout,
    WarmUp,
    duration,
)
from boxwise_cli.perf_bench import keep, measuring, prepare, read_workload
from boxwise_cli.printing import console, note

if TYPE_CHECKING:
    from boxwise_perf.result import Comparison


def compare(
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="REPO, HOST:PORT of a running server, or a result file."),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    pipeline: ServedPipeline = None,
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
    from boxwise_cli.perf_show import show_conditions, show_line
    from boxwise_perf.compare import compare_files, compare_servers
    from boxwise_perf.load import Closed
    from boxwise_perf.result import new

    files = [Path(side).is_file() for side in (a, b)]
    if all(files):
        with measuring():
            result = compare_files(Path(a), Path(b))
    elif any(files):
        fail(
            "expected two results, or two of REPO and HOST:PORT: a result file has no "
            "server to load",
            USAGE,
        )
    else:
        sides = ((*_server(a), pipeline), (*_server(b), pipeline_b or pipeline))
        running = any(url for _, url, _ in sides)
        _check(starts, pairs, running=running)
        workload = read_workload(images, synthetic, boxes, seed, running=running)
        stderr = Console(stderr=True)
        bar = Progress(console=stderr, transient=True, disable=not stderr.is_terminal)
        with measuring(), bar:
            task = bar.add_task("Comparing", total=pairs * starts)
            comparison = compare_servers(
                sides,
                workload,
                Closed(concurrency),
                pairs=pairs,
                starts=starts,
                block_s=block,
                warm_up_s=warm_up,
                timeout_s=timeout,
                seed=seed,
                confidence=confidence,
                report=note,
                done=lambda: bar.advance(task),
            )
        result = new(None, workload.images, confidence=confidence, comparisons=[comparison])
    keep(result, out, as_json=as_json)
    if not as_json:
        for each in result.comparisons:
            console().print(_table(each))
            show_line(each.verdict)
        show_conditions(result, [])


def _check(starts: int, pairs: int, *, running: bool) -> None:
    """Exit if there are too few pairs or starts, or a server cannot be restarted."""
    from boxwise_perf.compare import LEAST

    if (starts if starts > 1 else pairs) < LEAST:
        fail(
            f"expected at least {LEAST} --pairs, or --starts: fewer give no interval",
            USAGE,
        )
    if starts > 1 and running:
        fail("--starts needs two repositories: a running server cannot be restarted", USAGE)


def _server(text: str) -> tuple[Path | None, str | None]:
    """Return a repository or an address."""
    if Path(text).is_dir():
        return Path(text), None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        fail(
            f"{text}: is no folder, no file and no HOST:PORT; name a repository, a server's "
            "gRPC port or a result",
            USAGE,
        )
    return None, text


def _table(found: "Comparison") -> Table:
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
