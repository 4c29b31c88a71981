"""What the `perf` commands share: their checks, their workload, their errors and their output."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from boxwise_cli.exits import USAGE, fail, needs, reported, stop_on_sigterm
from boxwise_cli.files import write_text
from boxwise_cli.options import boxes as parse_boxes
from boxwise_cli.options import size
from boxwise_cli.printing import note, print_json

if TYPE_CHECKING:
    from boxwise_perf.images import Workload
    from boxwise_perf.result import Result


def prepare(out: Path | None) -> None:
    """Check the extra and the output file, and let SIGTERM stop the servers."""
    with needs("perf"):
        import psutil  # noqa: F401
        import pydantic  # noqa: F401
        import tritonclient.grpc as _  # noqa: F401
    stop_on_sigterm()
    if out is not None and out.exists():
        fail(f"{out} exists, and a result is never changed: name another file", USAGE)


def one_of(repository: Path | None, url: str | None) -> None:
    """Exit unless exactly one of the two is given."""
    if (repository is None) == (url is None):
        fail("expected a REPO, or the --url of a server, and not both", USAGE)


def read_workload(
    folder: Path | None, synthetic: str | None, boxes: str | None, seed: int, *, running: bool
) -> "Workload":
    """Return what the options say to send.

    Args:
        folder: --images.
        synthetic: --synthetic.
        boxes: --boxes.
        seed: --seed.
        running: whether a server is already running, so that its networks cannot be replaced.
    """
    from boxwise_perf.images import BoxesPerImage, workload
    from boxwise_perf.load import LoadError

    if folder and synthetic:
        fail("expected --images or --synthetic, not both", USAGE)
    if boxes and running:
        fail("--boxes needs a REPO: a running server keeps its own networks", USAGE)
    if boxes:
        with needs("export"):
            import onnx  # noqa: F401
    per_image = BoxesPerImage(*parse_boxes(boxes)) if boxes else None
    with reported(LoadError):
        return workload(folder, size(synthetic or "1280x720"), per_image, seed)


@contextmanager
def measuring() -> Iterator[None]:
    """Print what cannot be served or measured, and exit."""
    from boxwise import BoxwiseError
    from boxwise_perf.endpoint import AmbiguousPipeline
    from boxwise_perf.load import LoadError
    from boxwise_perf.result import ResultError
    from boxwise_runtime.launcher import LaunchError

    with (
        reported(AmbiguousPipeline, code=USAGE),
        reported(LaunchError, LoadError, ResultError, BoxwiseError, OSError),
    ):
        yield


def keep(result: "Result", out: Path | None, *, as_json: bool) -> None:
    """Write the result's file, and print its JSON, if asked to."""
    from boxwise_perf.result import document, text

    if out:
        with reported(OSError):
            write_text(out, text(result))
        note(f"the result is in {out}")
    if as_json:
        print_json(document(result, samples=False))
