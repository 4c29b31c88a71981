"""`boxwise demo`: from real checkpoints to annotated images, on this machine."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import needs, needs_runtime, reported, stop_on_sigterm


def demo(
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for the repository and the annotated images."),
    ] = Path("boxwise-demo"),
) -> None:
    """Serve real models on this machine and detect objects in some photos.

    Fetches a COCO detector and an ImageNet classifier (about 60 MB, once), exports them, starts
    Triton on the CPU, sends it photos, prints what is in them and saves them with their boxes
    drawn. Nothing keeps running.
    """
    needs_runtime()
    with needs("demo"):
        import efficientnet_lite_pytorch  # noqa: F401

        from boxwise_export.checkpoints.download import DownloadError
        from boxwise_export.demo import prepare_demo
        from boxwise_export.errors import ExportError
    from rich.console import Console

    from boxwise import Client
    from boxwise_cli.output import Outcome, outcomes_table, save_image
    from boxwise_runtime.cache import CacheError, cache_folder
    from boxwise_runtime.launcher import LaunchError, ServerOptions, TritonProcess

    stop_on_sigterm()
    repository, images = out / "repository", out / "images"
    with reported(DownloadError, ExportError, LaunchError, CacheError):
        photos = prepare_demo(cache_folder(), repository, report=typer.echo)
        typer.echo("starting Triton")
        options = ServerOptions.on_free_ports(repository)
        with TritonProcess.start(options), Client(options.grpc_url, timeout_s=60) as client:
            outcomes = []
            for photo in photos:
                result = client.predict(photo)
                outcomes.append(Outcome(Path(photo.name), result.image_size, result.detections))
                save_image(result.draw(), images / photo.name)
    Console().print(outcomes_table(outcomes))
    typer.echo(
        f"annotated images are in {images}/, the model repository is {repository}/; go on with"
    )
    typer.echo(f"  boxwise serve {shlex.quote(str(repository))}")
    typer.echo("  boxwise predict YOUR_IMAGE.jpg --save .")
