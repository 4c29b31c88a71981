"""The command line as a table: each subcommand is a module of its name that holds a function of its name."""

from importlib.metadata import version
from typing import Annotated

import typer

from boxwise_cli.subcommands import subcommands

# In the order of --help.
COMMANDS = (
    "demo",
    "init",
    "inspect",
    "validate",
    "export",
    "diff",
    "rollback",
    "layout",
    "build-engines",
    "check-tensorrt",
    "serve",
    "predict",
    "eval",
    "perf",
    "doctor",
    "cache",
)


app = typer.Typer(cls=subcommands(COMMANDS), no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"boxwise {version('boxwise')}")
        raise typer.Exit


@app.callback()
def boxwise(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """An image goes in; every object in it comes back with its box, its class, and what each classifier says of it."""
