"""The `boxwise` program. Without typer it prints how to install it."""

import codecs
import io
import json
import sys
import warnings
from importlib.util import find_spec

from boxwise_cli.exits import USAGE


def main() -> None:
    """Run the command line.

    Exit codes: 0 for success, 1 for failure, 2 for wrong usage or a missing extra, 130 for Ctrl-C.
    """
    _print_on_any_terminal()
    if find_spec("typer") is None or find_spec("rich") is None:
        sys.stderr.write('the command line needs its extra: pip install "boxwise[cli]"\n')
        raise SystemExit(USAGE)
    from boxwise_cli.app import app

    warnings.formatwarning = _formatted
    app()


def _formatted(message: Warning | str, *_: object, **__: object) -> str:
    """Return a warning as one line for users, without its place in our code."""
    return f"warning: {message}\n"


def _print_on_any_terminal() -> None:
    r"""Escape characters that the terminal's encoding lacks, as \u00e9 for "é".

    Python would raise UnicodeEncodeError. The escapes are those of JSON, so --json prints valid
    JSON.
    """
    codecs.register_error("boxwise", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="boxwise")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
