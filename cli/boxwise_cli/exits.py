"""How a command ends badly: one line on stderr, and an exit code that a script can read."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

FAILED = 1
USAGE = 2  # typer's own, for a wrong option or argument


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print `error: message` on stderr and exit."""
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(code)


@contextmanager
def reported(*exceptions: type[BaseException]) -> Iterator[None]:
    """Turn these exceptions, whose messages are meant for people, into `fail`."""
    try:
        yield
    except exceptions as error:
        fail(str(error))


def needs_runtime() -> None:
    """See to it that graphs can be run and images decoded here: what exporting and serving build
    on.
    """
    with needs("server"):
        import cv2  # noqa: F401
        import onnxruntime  # noqa: F401


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import, inside, what one of our extras installs; where it is missing, say which extra that
    is.

    with needs("export"):
        import onnx
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0].startswith("boxwise"):
            raise  # ours, so a bug rather than a missing extra
        fail(
            f"this command needs {error.name}, of an extra that is not installed: pip "
            f'install "boxwise[{extra}]"'
        )
