"""`boxwise eval`: how good a served pipeline is, on images whose objects are known."""

import json
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from boxwise_cli.exits import needs, reported
from boxwise_cli.files import write_text
from boxwise_cli.perf_options import Timeout
from boxwise_cli.serving import one_of, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from boxwise_eval.report import Report

_SAY_EVERY_S = 10.0


def eval(  # noqa: A001 (the subcommand's name)
    repository: Annotated[
        Path | None,
        typer.Argument(
            metavar="[REPO]", help="A model repository, served for the duration of the command."
        ),
    ] = None,
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
    pipeline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The pipeline; default: the only one of REPO."),
    ] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
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

    from boxwise import BoxwiseError, Client
    from boxwise_eval.datasets import load
    from boxwise_eval.errors import EvalError
    from boxwise_eval.page import render
    from boxwise_eval.report import evaluate
    from boxwise_eval.run import Thresholds
    from boxwise_eval.run import served as ask

    # End as for Ctrl-C: the server stops with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with reported(EvalError, BoxwiseError, OSError):
        dataset = load(data, split)
        with (
            served(repository, url, pipeline) as server,
            Client(server.url, pipeline=server.pipeline, timeout_s=timeout) as client,
            _progress(len(dataset.images)) as done,
        ):
            report = evaluate(
                ask(client, retries=retries),
                client.info(),
                dataset,
                Thresholds(score, iou, max_detections),
                concurrency=concurrency,
                done=done,
            )
        if html:
            write_text(html, render(report))
    if as_json:
        typer.echo(json.dumps(report.document(), indent=2, ensure_ascii=False))
    else:
        _show(report)
    if html:
        typer.echo(f"plots and the worst images are in {html}", err=as_json)


@contextmanager
def _progress(total: int) -> "Iterator[Callable[[], None]]":
    """Yield what is called after each image: it moves a bar on a terminal, and elsewhere prints a
    line now and then.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    if console.is_terminal:
        with Progress(*columns, console=console, transient=True, disable=total < 2) as progress:
            task = progress.add_task("Evaluating", total=total)
            yield lambda: progress.advance(task)
        return
    count, said, lock = 0, time.monotonic(), Lock()

    def done() -> None:
        nonlocal count, said
        with lock:
            count += 1
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                typer.echo(f"{count} of {total} images", err=True)

    yield done


def _show(report: "Report") -> None:
    console = Console()
    if said := report.detection:
        of_split = f" of the split {report.dataset.split}" if report.dataset.split else ""
        title = f"{report.pipeline}, {len(report.dataset.images)} images{of_split}"
        table = Table("boxes", "", title=title, title_justify="left")
        for name, value in said.rows().items():
            table.add_row(name, "-" if value is None else f"{value:.4f}")
        console.print(table)
        console.print(report.conditions())
        classes = Table("class", "AP@[.5:.95]")
        for name, value in sorted(said.classes.items(), key=lambda item: -item[1]):
            classes.add_row(name, f"{value:.4f}")
        console.print(classes)
    if report.classifiers:
        table = Table("classifier", "top-1", "top-5", "of", "most often confused (true: said)")
        for name, each in report.classifiers.items():
            wrong = [
                (n, true, answer) for (true, answer), n in each.confusion.items() if true != answer
            ]
            worst = ", ".join(
                f"{true}: {answer} ({n})" for n, true, answer in sorted(wrong, reverse=True)[:3]
            )
            top5 = "-" if each.top5 is None else f"{each.top5:.4f}"
            table.add_row(name, f"{each.top1:.4f}", top5, str(each.count), worst)
        console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
