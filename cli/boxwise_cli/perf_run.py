"""`boxwise perf run`: one or several loads on one server."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boxwise_cli.exits import USAGE, fail
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
    concurrencies,
    duration,
    numbers,
)
from boxwise_cli.perf_bench import keep, measuring, one_of, prepare, read_workload
from boxwise_cli.printing import note

if TYPE_CHECKING:
    from boxwise_perf.load import Load


def run(
    repository: ServedRepository = None,
    url: Url = None,
    pipeline: ServedPipeline = None,
    images: Images = None,
    synthetic: Synthetic = None,
    boxes: Boxes = None,
    concurrency: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N[,N...]",
            help="Closed loop: requests in flight; 4 unless --rate is given.",
        ),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="R[,R...]",
            help="Open loop: requests per second, whether or not earlier ones are done.",
        ),
    ] = None,
    arrivals: Annotated[
        Literal["poisson", "fixed"], typer.Option(help="Arrivals of the open loop.")
    ] = "poisson",
    length: Annotated[
        float,
        typer.Option(
            "--duration", metavar="TIME", parser=duration, help="Measured duration of each load."
        ),
    ] = "10s",  # type: ignore[assignment] # typer parses defaults too
    warm_up: WarmUp = "2s",  # type: ignore[assignment]
    timeout: Timeout = "60s",  # type: ignore[assignment]
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Load a pipeline: images/s and boxes/s, latency with intervals, time per stage.

    A closed loop shows what a server can do, an open loop what independent clients experience.
    Latency counts from the scheduled send. Exits with 1 if a run is void.
    """
    one_of(repository, url)
    loads = _loads(concurrency or [], rate or [], arrivals)
    if not length:
        fail("--duration: expected more than 0, such as 10s", USAGE)
    prepare(out)

    from boxwise_cli.perf_show import show_trials
    from boxwise_perf.bench import Bench
    from boxwise_perf.result import new
    from boxwise_perf.trial import Plan

    workload = read_workload(images, synthetic, boxes, seed, running=url is not None)
    with measuring(), Bench(workload, timeout, note) as bench:
        endpoint, target = bench.add(repository, url, pipeline)
        plan = Plan(warm_up, length, seed)
        trials = [bench.trial(endpoint, load, plan) for load in loads]
    result = new(target, workload.images, trials=trials)
    keep(result, out, as_json=as_json)
    if not as_json:
        show_trials(result, trials)
    for trial in trials:
        if trial.void:
            fail(f"{trial.load}: the run is void: {trial.void}")


def _loads(
    concurrency: list[str], rate: list[str], arrivals: Literal["poisson", "fixed"]
) -> "list[Load]":
    from boxwise_perf.load import Closed, Open

    if concurrency and rate:
        fail("expected --concurrency (closed loop) or --rate (open loop), not both", USAGE)
    if rate:
        return [Open(each, arrivals) for each in numbers(rate)]
    return [Closed(each) for each in concurrencies(concurrency or ["4"])]
