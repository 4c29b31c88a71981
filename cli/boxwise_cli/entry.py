"""The `boxwise` program: it starts without typer too, to say how to get it."""

import codecs
import io
import json
import sys
import warnings
from importlib.util import find_spec

from boxwise_cli.exits import USAGE


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage or extra missing, 130
    interrupted.
    """
    _print_on_any_terminal()
    if find_spec("typer") is None or find_spec("rich") is None:
        sys.stderr.write('the command line needs its extra: pip install "boxwise[cli]"\n')
        raise SystemExit(USAGE)
    from boxwise_cli.app import app

    warnings.formatwarning = _formatted
    app()


def _formatted(message: Warning | str, *_: object, **__: object) -> str:
    """A warning as a line for people: a place in our code tells them nothing."""
    return f"warning: {message}\n"


def _print_on_any_terminal() -> None:
    r"""Escape what a terminal's encoding lacks, "é" as \u00e9, where Python would raise
    UnicodeEncodeError.

    These are JSON's own escapes, so that what --json prints stays JSON.
    """
    codecs.register_error("boxwise", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="boxwise")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
