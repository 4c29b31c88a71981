"""What commands print: JSON and tables on stdout, progress and notes on stderr."""

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 120  # columns without a terminal


def print_json(document: Any) -> None:
    """Print a document of JSON types on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def note(line: str) -> None:
    """Print a line on stderr."""
    typer.echo(line, err=True)


def console() -> "Console":
    """Return standard output for tables; in a pipe, it does not wrap at 80 columns."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=_PIPE_WIDTH)
