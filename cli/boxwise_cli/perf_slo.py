"""`boxwise perf slo`: the highest rate that holds a latency."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boxwise_cli.exits import fail
from boxwise_cli.perf_bench import bench, content, keep, prepare
from boxwise_cli.perf_options import (
    AsJson,
    Boxes,
    Images,
    Out,
    Pipeline,
    Repository,
    Seed,
    Synthetic,
    Timeout,
    Url,
    WarmUp,
    duration,
    latency,
)
from boxwise_cli.serving import one_of

if TYPE_CHECKING:
    from boxwise_perf.result import Trial, Try

NEEDED_FOR_P99 = 130  # requests, so that even a few less than expected have a p99 (100 do)
NEEDED_TO_CONFIRM = 500  # and so that it has an upper bound (368 do)


def slo(
    p99: Annotated[
        float,
        typer.Option(
            "--p99", metavar="TIME", parser=latency, help="The target, such as 100ms or 0.1s."
        ),
    ],
    repository: Repository = None,
    url: Url = None,
    pipeline: Pipeline = None,
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

    from boxwise_cli.perf_show import console, show_conditions, show_slo
    from boxwise_perf.load import Closed, Open
    from boxwise_perf.machine import Machine
    from boxwise_perf.result import FORMAT, Result, now
    from boxwise_perf.search import search
    from boxwise_perf.stats import CONFIDENCE
    from boxwise_perf.trial import Plan

    sent = content(images, synthetic, boxes, seed)
    with bench(sent, timeout) as own:
        endpoint, target = own.add(repository, url, pipeline)
        capacity = own.trial(endpoint, Closed(concurrency), Plan(warm_up, length, seed))

        def measure(rate: float, confirming: bool) -> "Trial":
            needed = (NEEDED_TO_CONFIRM if confirming else NEEDED_FOR_P99) / rate
            seconds = max(confirm if confirming else length, needed)
            return own.trial(endpoint, Open(rate, arrivals), Plan(warm_up, round(seconds, 1), seed))

        found = search(measure, capacity.images_per_s.value, p99 * 1e3, _report)
    result = Result(
        FORMAT, now(), Machine.here(), target, sent.images, CONFIDENCE, (capacity,), found
    )
    keep(result, out, as_json=as_json)
    if not as_json:
        show_slo(found)
        show_conditions(result, [found.tries[-1].trial], console())
        if found.rate:
            typer.echo(f"{found.rate:.1f} images/s hold a p99 of {found.p99_ms:g} ms")
    if found.rate is None:
        fail(
            f"no rate was confirmed to hold a p99 of {found.p99_ms:g} ms: "
            f"{found.tries[-1].why} at the last try"
        )


def _report(tried: "Try") -> None:
    said = "holds" if tried.held else f"does not hold: {tried.why}"
    typer.echo(f"  {tried.rate:.1f}/s {said}", err=True)
