"""What `perf` commands set up and take down: servers, images, the load generator."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from boxwise_cli.exits import USAGE, fail, needs, reported
from boxwise_cli.files import write_text
from boxwise_cli.perf_options import boxes as read_boxes
from boxwise_cli.perf_options import size
from boxwise_cli.serving import served

if TYPE_CHECKING:
    from boxwise_perf.images import BoxesPerImage, ImageSet, Request
    from boxwise_perf.load import Load
    from boxwise_perf.result import LoadTarget, Result, Trial
    from boxwise_perf.trial import Endpoint, Plan

DRAWS = 997  # numbers of boxes that are drawn: a prime, so that each image meets many of them


@dataclass(frozen=True)
class Content:
    """What is sent: images and what is said of them, and the boxes that each image has where that
    was asked for.
    """

    images: "ImageSet"
    requests: "list[Request]"
    boxes: "BoxesPerImage | None"
    most_boxes: int


def prepare(out: Path | None = None) -> None:
    """Look for the extra, end as for Ctrl-C when told to (the servers stop with us), and keep no
    old result's place.
    """
    with needs("perf"):
        import psutil  # noqa: F401
        import pydantic  # noqa: F401
        import tritonclient.grpc as _  # noqa: F401
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if out is not None and out.exists():
        fail(
            f"{out} is there already, and a result is never changed: give another name, or "
            "remove it",
            USAGE,
        )


def content(folder: Path | None, synthetic: str | None, boxes: str | None, seed: int) -> Content:
    """Read or make the images."""
    from dataclasses import replace

    from boxwise_perf.images import BoxesPerImage, from_folder, requests
    from boxwise_perf.images import synthetic as make
    from boxwise_perf.load import LoadError

    if folder and synthetic:
        fail("expected --images or --synthetic, not both", USAGE)
    wanted = BoxesPerImage(*read_boxes(boxes)) if boxes else None
    with reported(LoadError):
        said, images = from_folder(folder) if folder else make(*size(synthetic or "1280x720"), seed)
    if wanted is None:
        return Content(said, requests(images), None, 0)
    drawn = wanted.draw(DRAWS, seed)
    return Content(replace(said, boxes=str(wanted)), requests(images, drawn), wanted, max(drawn))


class Bench:
    """Servers, and the process that loads them."""

    def __init__(self, stack: ExitStack, sent: Content, timeout_s: float) -> None:
        from boxwise_perf.generator import Generator
        from boxwise_perf.usage import Gpus

        self.content = sent
        self.generator = stack.enter_context(Generator(sent.requests, timeout_s))
        self.gpus = Gpus()
        self._stack = stack
        self._timeout_s = timeout_s

    def add(
        self, repository: Path | None, url: str | None, pipeline: str | None
    ) -> "tuple[Endpoint, LoadTarget]":
        """One server, and what a result says of it."""
        from boxwise import Client
        from boxwise_perf.result import LoadTarget
        from boxwise_perf.trial import Endpoint

        if self.content.boxes and repository is None:
            fail("--boxes needs a REPO: a running server keeps its own models", USAGE)
        source = self._null(repository) if repository and self.content.boxes else repository
        server = self._stack.enter_context(served(source, url, pipeline))
        with Client(server.url, pipeline=server.pipeline, timeout_s=self._timeout_s) as client:
            digests = {name: str(digest) for name, digest in client.info().digests.items()}
        target = LoadTarget(server.pipeline, str(repository) if repository else None, url, digests)
        return Endpoint(server.url, server.pipeline, server.pid, server.metrics), target

    def trial(self, endpoint: "Endpoint", load: "Load", plan: "Plan") -> "Trial":
        """Measure one load, saying so on stderr."""
        from boxwise_perf.trial import measure
        from boxwise_perf.triton_statistics import TritonStatistics

        typer.echo(
            f"{load}: {plan.warm_up_s:g} s of warm-up, {plan.seconds:g} s measured", err=True
        )
        with TritonStatistics(endpoint.url, endpoint.pipeline, endpoint.metrics) as statistics:
            return measure(self.generator, statistics, endpoint, load, plan, self.gpus)

    def _null(self, repository: Path) -> Path:
        with needs("export"):
            from boxwise_perf.null import nullify
        folder = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="boxwise-null-")),
            "repository",
        )
        nullify(repository, folder, objects=max(1, self.content.most_boxes))
        return folder


@contextmanager
def bench(sent: Content, timeout_s: float) -> Iterator[Bench]:
    """Everything stops with the block; what cannot be measured ends the command with a sentence."""
    from boxwise import BoxwiseError
    from boxwise_perf.load import LoadError
    from boxwise_perf.result import ResultError

    with reported(LoadError, ResultError, BoxwiseError, OSError), ExitStack() as stack:
        yield Bench(stack, sent, timeout_s)


def keep(result: "Result", out: Path | None, *, as_json: bool) -> None:
    """Write the result's file and print its JSON, where either is asked for."""
    import json

    from boxwise_perf.result import document, text

    if out:
        with reported(OSError):
            write_text(out, text(result))
        typer.echo(f"the result is in {out}", err=True)
    if as_json:
        typer.echo(json.dumps(document(result, samples=False), indent=2, ensure_ascii=False))


def end_if_void(trials: "list[Trial]") -> None:
    """End with 1 where a run says nothing about the server."""
    for trial in trials:
        if trial.void:
            fail(f"{trial.load}: the run is void: {trial.void}")
