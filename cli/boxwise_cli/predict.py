"""`boxwise predict`: images go to a running server, and a table, JSON or annotated images come
back.
"""

from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.perf_options import Timeout


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Image files, folders of them, or video files."),
    ],
    url: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The server's gRPC port.")
    ] = "localhost:8001",
    pipeline: Annotated[
        str, typer.Option(metavar="NAME", help="The name it was exported with.")
    ] = "boxwise",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write annotated images there.")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="A box needs this score.")
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Of boxes of one class that overlap more, keep one."),
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, help="Keep so many boxes, the best.")
    ] = None,
    timeout: Timeout = "60s",  # type: ignore[assignment] # typer parses defaults too
) -> None:
    """Find the objects in images and videos, with a running server.

    Of a folder, every image in it (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC and what else Pillow
    opens). An image that fails is reported on stderr, the rest are processed, and the exit code is
    1. Of a video, every frame; failed frames are counted on stderr at its end, and are in --json
       with their error.
    """
    from boxwise._request import Options
    from boxwise_cli.prediction import predict_files

    options = Options(
        score_threshold=score_threshold, iou_threshold=iou_threshold, max_detections=max_detections
    )
    predict_files(images, url, pipeline, options, timeout_s=timeout, as_json=as_json, save=save)
