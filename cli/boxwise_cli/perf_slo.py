"""`boxwise perf slo`: the highest rate whose p99 holds a target."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boxwise_cli.exits import fail
from boxwise_cli.options import (
    AsJson,
    Boxes,
    Images,
    Out,
    Seed,
    ServedPipeline,
    ServedRepository,
    Synthetic,
    Timeout,
    Url,
    WarmUp,
    duration,
    latency,
)
from boxwise_cli.perf_bench import keep, measuring, one_of, prepare, read_workload
from boxwise_cli.printing import note

if TYPE_CHECKING:
    from boxwise_perf.result import Try


def slo(
    p99: Annotated[
        float,
        typer.Option(
            "--p99", metavar="TIME", parser=latency, help="The target, such as 100ms or 0.1s."
        ),
    ],
    repository: ServedRepository = None,
    url: Url = None,
    pipeline: ServedPipeline = None,
    images: Images = None,
    synthetic: Synthetic = None,
    boxes: Boxes = None,
    arrivals: Annotated[
        Literal["poisson", "fixed"], typer.Option(help="Arrivals of the open loop.")
    ] = "poisson",
    concurrency: Annotated[
        int,
        typer.Option(
            min=1,
            help="Requests in flight of the closed loop that finds the capacity, where the "
            "search begins.",
        ),
    ] = 16,
    length: Annotated[
        float,
        typer.Option(
            "--duration",
            metavar="TIME",
            parser=duration,
            help="Duration of a try; longer for a low rate.",
        ),
    ] = "10s",  # type: ignore[assignment] # typer parses defaults too
    confirm: Annotated[
        float, typer.Option(metavar="TIME", parser=duration, help="Duration of the confirming run.")
    ] = "30s",  # type: ignore[assignment]
    warm_up: WarmUp = "2s",  # type: ignore[assignment]
    timeout: Timeout = "60s",  # type: ignore[assignment]
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Find the highest rate whose p99 is within a target, and confirm it by a longer run.

    A rate holds if its p99 is within the target, no request fails, the run is not void, and latency
    does not grow. Exits with 1 if no rate holds.
    """
    one_of(repository, url)
    prepare(out)

    from boxwise_cli.perf_show import show_conditions, show_slo
    from boxwise_perf.bench import Bench
    from boxwise_perf.result import new
    from boxwise_perf.search import find_rate
    from boxwise_perf.trial import Plan

    workload = read_workload(images, synthetic, boxes, seed, running=url is not None)
    with measuring(), Bench(workload, timeout, note) as bench:
        endpoint, target = bench.add(repository, url, pipeline)
        capacity, found = find_rate(
            bench,
            endpoint,
            p99_ms=p99 * 1e3,
            concurrency=concurrency,
            arrivals=arrivals,
            plan=Plan(warm_up, length, seed),
            confirm_s=confirm,
            report=_report,
        )
    result = new(target, workload.images, trials=[capacity], slo=found)
    keep(result, out, as_json=as_json)
    if not as_json:
        show_slo(found)
        show_conditions(result, [found.tries[-1].trial])
        if found.rate:
            typer.echo(f"{found.rate:.1f} images/s hold a p99 of {found.p99_ms:g} ms")
    if found.rate is None:
        fail(
            f"no rate was confirmed to hold a p99 of {found.p99_ms:g} ms: "
            f"{found.tries[-1].why} at the last try"
        )


def _report(tried: "Try") -> None:
    note(f"  {tried.rate:.1f}/s {'holds' if tried.held else f'does not hold: {tried.why}'}")
