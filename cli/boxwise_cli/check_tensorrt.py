"""`boxwise check-tensorrt`: whether TensorRT knows what is in the graphs, without a GPU."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import FAILED, needs, reported


def check_tensorrt(
    repository: Annotated[Path, typer.Argument(metavar="REPO", help="The model repository.")],
    pipeline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The pipeline, if the repository has several."),
    ] = None,
    capability: Annotated[
        str | None,
        typer.Option(
            metavar="X.Y", help="Also build each graph, for this compute capability, such as 8.9."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Parse every served graph with TensorRT-RTX, which needs no GPU.

    A pass means that TensorRT knows the operators, types and shapes. It says nothing about numerics
    or speed, and what is built is discarded. Exits with 1 if a graph fails.
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
