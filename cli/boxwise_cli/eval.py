"""`boxwise eval`: the accuracy of a served pipeline on a labelled set."""

import time
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from boxwise_cli.exits import needs, reported, stop_on_sigterm
from boxwise_cli.files import write_text
from boxwise_cli.options import AsJson, ServedPipeline, ServedRepository, Timeout
from boxwise_cli.perf_bench import measuring, one_of
from boxwise_cli.printing import note, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from boxwise_eval.report import Report

_REPORT_EVERY_S = 10.0


def eval(  # noqa: A001 (the subcommand's name)
    repository: ServedRepository = None,
    data: Annotated[
        Path,
        typer.Option(
            metavar="SET",
            help="A labelled set: data.yaml, YOLO, COCO JSON, Pascal VOC, or one folder per class.",
        ),
    ] = ...,  # type: ignore[assignment]
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="train, val or test; default: val of a data.yaml, otherwise the only one.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Use a running server instead (its gRPC port)."),
    ] = None,
    pipeline: ServedPipeline = None,
    score: Annotated[float, typer.Option(min=0, max=1, help="Score threshold for mAP.")] = 0.01,
    iou: Annotated[float, typer.Option(min=0, max=1, help="IoU threshold of NMS for mAP.")] = 0.65,
    max_detections: Annotated[
        int, typer.Option(min=1, help="Maximum boxes per image for mAP.")
    ] = 100,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 4,
    timeout: Timeout = "60s",  # type: ignore[assignment] # typer parses defaults too
    retries: Annotated[
        int,
        typer.Option(min=0, help="Retries of a request that fails with a temporary error."),
    ] = 2,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with plots and the worst images."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a served pipeline on a labelled set: mAP, AP, precision, recall, top-1, top-5.

    mAP uses the thresholds below, whatever the pipeline's defaults are. Precision and recall use
    the pipeline's own score threshold.
    """
    one_of(repository, url)
    with needs("eval"):
        import jinja2  # noqa: F401
        import matplotlib as _  # noqa: F401
        import pycocotools  # noqa: F401

    from boxwise import Client
    from boxwise_eval.datasets import load
    from boxwise_eval.errors import EvalError
    from boxwise_eval.page import render
    from boxwise_eval.report import evaluate
    from boxwise_eval.run import Thresholds, predictor
    from boxwise_perf.endpoint import served

    stop_on_sigterm()
    with reported(EvalError), measuring():
        dataset = load(data, split)
        with (
            served(repository, url, pipeline, note) as server,
            Client(server.url, pipeline=server.pipeline, timeout_s=timeout) as client,
            _progress(len(dataset.images)) as done,
        ):
            report = evaluate(
                predictor(client, retries=retries),
                client.info(),
                dataset,
                Thresholds(score, iou, max_detections),
                concurrency=concurrency,
                done=done,
            )
        if html:
            write_text(html, render(report))
    if as_json:
        print_json(report.document())
    else:
        _show(report)
    if html:
        typer.echo(f"plots and the worst images are in {html}", err=as_json)


@contextmanager
def _progress(total: int) -> "Iterator[Callable[[], None]]":
    """Yield a function to call after each image: it advances a bar, or prints a line every 10 s."""
    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console, transient=True, disable=total < 2) as progress:
            task = progress.add_task("Evaluating", total=total)
            yield lambda: progress.advance(task)
        return
    count, reported_at, lock = 0, time.monotonic(), Lock()

    def done() -> None:
        nonlocal count, reported_at
        with lock:
            count += 1
            if time.monotonic() - reported_at > _REPORT_EVERY_S:
                reported_at = time.monotonic()
                note(f"{count} of {total} images")

    yield done


def _show(report: "Report") -> None:
    console = Console()
    if detection := report.detection:
        of_split = f" of the split {report.dataset.split}" if report.dataset.split else ""
        title = f"{report.pipeline}, {len(report.dataset.images)} images{of_split}"
        table = Table("boxes", "", title=title, title_justify="left")
        for name, value in detection.rows().items():
            table.add_row(name, "-" if value is None else f"{value:.4f}")
        console.print(table)
        console.print(report.conditions())
        classes = Table("class", "AP@[.5:.95]")
        for name, value in sorted(detection.classes.items(), key=lambda item: -item[1]):
            classes.add_row(name, f"{value:.4f}")
        console.print(classes)
    if report.classifiers:
        table = Table("classifier", "top-1", "top-5", "of", "most often confused (true: predicted)")
        for name, each in report.classifiers.items():
            wrong = [
                (n, true, predicted)
                for (true, predicted), n in each.confusion.items()
                if true != predicted
            ]
            worst = ", ".join(
                f"{true}: {predicted} ({n})"
                for n, true, predicted in sorted(wrong, reverse=True)[:3]
            )
            top5 = "-" if each.top5 is None else f"{each.top5:.4f}"
            table.add_row(name, f"{each.top1:.4f}", top5, str(each.count), worst)
        console.print(table)
    for line in report.notes:
        console.print(f"note: {line}", markup=False)
