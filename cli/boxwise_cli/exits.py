"""How a command fails: one line on stderr, and an exit code for scripts."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

FAILED = 1
USAGE = 2  # typer's own code for a wrong option or argument


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print `error: message` on stderr and exit."""
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(code)


@contextmanager
def reported(*exceptions: type[BaseException], code: int = FAILED) -> Iterator[None]:
    """Print exceptions whose messages are written for users, and exit."""
    try:
        yield
    except exceptions as error:
        fail(str(error), code)


def stop_on_sigterm() -> None:
    """Treat SIGTERM as Ctrl-C, so that the servers of a command stop with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def needs_runtime() -> None:
    """Exit unless graphs can run and images can be decoded here, as exporting and serving need."""
    with needs("server"):
        import cv2  # noqa: F401
        import onnxruntime  # noqa: F401


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import the packages of an extra in this block; if one is missing, print which extra to
    install.

    with needs("export"):
        import onnx
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0].startswith("boxwise"):
            raise  # a bug of ours, not a missing extra
        fail(
            f"this command needs {error.name}, of an extra that is not installed: pip "
            f'install "boxwise[{extra}]"'
        )
