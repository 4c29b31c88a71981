"""`boxwise check-tensorrt`: whether TensorRT can parse the graphs, without a GPU."""

from dataclasses import asdict
from typing import Annotated

import typer

from boxwise_cli.exits import FAILED, needs, reported
from boxwise_cli.options import Pipeline, Repository
from boxwise_cli.printing import note, print_json


def check_tensorrt(
    repository: Repository,
    pipeline: Pipeline = None,
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

    with reported(ExportError):
        trt = load_rtx()
        checked = check_graphs(repository, pipeline, trt, capability=capability, report=note)
    if as_json:
        graphs = [asdict(each) | {"passed": each.passed} for each in checked]
        print_json({"tensorrt_rtx": trt.__version__, "graphs": graphs})
    else:
        for each in checked:
            why = f": {each.known or each.problem}" if each.problem else ""
            typer.echo(f"{each.model}: {'ok' if each.passed else 'FAILS'}{why}")
    if not all(each.passed for each in checked):
        raise typer.Exit(FAILED)
