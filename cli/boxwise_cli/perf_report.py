"""`boxwise perf report`: results as a page of plots and tables, or as images."""

from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import USAGE, fail, needs, reported
from boxwise_cli.files import write_bytes, write_text


def report(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT.json...", help="Result files that --out wrote.")
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one page with everything.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the plots as images to this folder.")
    ] = None,
) -> None:
    """Plot results of one machine: latency against load, time per stage, batches, comparisons.

    A plot is drawn only if there are data for it. Results of different machines are refused.
    """
    if html is None and png is None:
        fail("expected --html FILE or --png DIR, or both", USAGE)
    with needs("perf"):
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
        import pydantic  # noqa: F401
    from boxwise_perf.page import render
    from boxwise_perf.plots import plots
    from boxwise_perf.result import ResultError, check_one_machine, load

    with reported(ResultError, OSError):
        found = [load(file) for file in results]
        check_one_machine(found)
        drawn = list(plots(found))
        for plot in drawn if png else ():
            write_bytes((png or Path()) / f"{plot.name}.png", plot.png)
        if html:
            write_text(html, render(found, drawn))
    typer.echo(
        f"{len(drawn)} plots are in {' and '.join(str(place) for place in (html, png) if place)}"
    )
