"""`boxwise check-tensorrt`: whether TensorRT knows what is in the graphs, without a GPU."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import FAILED, needs, reported


def check_tensorrt(
    repository: Annotated[
        Path, typer.Argument(metavar="REPO", help="What `boxwise export` wrote.")
    ],
    pipeline: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which, where the repository has several.")
    ] = None,
    capability: Annotated[
        str | None,
        typer.Option(
            metavar="X.Y", help="Build each graph too, for this compute capability, as 8.9."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read every graph that is served with TensorRT-RTX, which needs no GPU.

    What passes has operators, types and shapes that TensorRT knows; that says nothing of its
    numerics or speed, and what is built here is thrown away: Triton does not load it. Exits with 1
    where a graph fails.
    """
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.tensorrt.check import check_graphs, load_rtx

    say = partial(typer.echo, err=True)
    with reported(ExportError):
        trt = load_rtx()
        checked = check_graphs(repository, pipeline, trt, capability=capability, report=say)
    if as_json:
        graphs = [asdict(each) | {"passed": each.passed} for each in checked]
        typer.echo(json.dumps({"tensorrt_rtx": trt.__version__, "graphs": graphs}, indent=2))
    else:
        for each in checked:
            why = f": {each.known or each.problem}" if each.problem else ""
            typer.echo(f"{each.model}: {'ok' if each.passed else 'FAILS'}{why}")
    if not all(each.passed for each in checked):
        raise typer.Exit(FAILED)
