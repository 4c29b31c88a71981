"""`boxwise build-engines`: TensorRT plans for a repository, built on the machine that serves it."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import needs, needs_runtime, reported
from boxwise_cli.options import Pipeline, Repository
from boxwise_cli.printing import note, print_json

_GIB = 1 << 30


def build_engines(
    repository: Repository,
    pipeline: Pipeline = None,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Images to compare on; default: the demo's photos."),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Compare each plan with its graph before putting it in place.")
    ] = True,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build plans that are in the cache too.")
    ] = False,
    workspace: Annotated[
        float,
        typer.Option(metavar="GIB", min=0.1, help="GPU memory for the builder, besides weights."),
    ] = 2.0,
    gpu: Annotated[int, typer.Option(metavar="INDEX", min=0, help="The GPU to build for.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was built as JSON.")] = False,
) -> None:
    """Build a TensorRT plan of every served graph, for the GPU of this machine.

    A plan loads only in the TensorRT version that built it, on such a GPU. Plans are cached by
    graph, TensorRT version, GPU and shapes, compared with their graphs on real images, and put in
    place when all agree.
    """
    needs_runtime()
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.export import images_of
        from boxwise_export.parity.gate import read_image
        from boxwise_export.tensorrt.build import build_engines as run
        from boxwise_export.tensorrt.execute import PlanGraph
        from boxwise_export.tensorrt.gpu import find_gpu, load_tensorrt
        from boxwise_runtime.cache import cache_folder

    with reported(ExportError):
        trt, found = load_tensorrt(), find_gpu(gpu)
        images = images_of(calibration, note) if check else []
        built = run(
            repository,
            pipeline,
            trt=trt,
            gpu=found,
            cache=cache_folder() / "tensorrt",
            load=(lambda plan: PlanGraph(trt, plan)) if check else None,
            frames=[read_image(path, 25_000_000) for path in images],
            workspace=round(workspace * _GIB),
            rebuild=rebuild,
            report=note,
        )
    if as_json:
        engines = [asdict(each) for each in built]
        print_json({"tensorrt": trt.__version__, "gpu": asdict(found), "engines": engines})
        return
    for each in built:
        how = "from the cache" if each.cached else "built"
        typer.echo(f"{each.model} version {each.version}: {how}, {each.bytes / 1e6:.1f} MB")
    typer.echo(
        f"serve it with: boxwise serve {shlex.quote(str(repository))} --target tensorrt "
        "--server PATH"
    )
