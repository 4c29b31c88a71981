"""`boxwise predict`: detections of a running server as a table, JSON or annotated images."""

from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.options import AsJson, Timeout


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Image files, folders of images, or video files."),
    ],
    url: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The server's gRPC port.")
    ] = "localhost:8001",
    pipeline: Annotated[str, typer.Option(metavar="NAME", help="The pipeline's name.")] = "boxwise",
    as_json: AsJson = False,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write annotated images to this folder.")
    ] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Minimum score of a detection; default: the pipeline's."),
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Of two boxes of one class whose IoU exceeds this, keep the better; "
            "default: the pipeline's.",
        ),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of detections; default: the pipeline's."),
    ] = None,
    timeout: Timeout = "60s",  # type: ignore[assignment] # typer parses defaults too
) -> None:
    """Find the objects in images and videos with a running server.

    Folders: every image that Pillow opens (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC, ...).
    Failed images are reported on stderr; the rest are processed, and the exit code is 1. Videos:
    every frame; failed frames are counted on stderr and are in --json with their error.
    """
    from boxwise._options import CallOptions
    from boxwise_cli.prediction import predict_files

    options = CallOptions(
        score_threshold=score_threshold, iou_threshold=iou_threshold, max_detections=max_detections
    )
    predict_files(images, url, pipeline, options, timeout_s=timeout, as_json=as_json, save=save)
