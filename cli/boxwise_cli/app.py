"""The command line as a table: each subcommand is a module of its name that holds a function of its name."""

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

# In the order of --help. Only the module of the subcommand that runs is imported (all of them for --help, so they
# import what an extra brings inside their functions, under `needs`). Its docstring is its help.
COMMANDS = (
    "demo",
    "init",
    "inspect",
    "validate",
    "export",
    "diff",
    "rollback",
    "build-engines",
    "check-tensorrt",
    "serve",
    "predict",
    "eval",
    "doctor",
    "cache",
)


def _function(command: str) -> Any:
    """`check-tensorrt` is boxwise_cli.check_tensorrt.check_tensorrt."""
    name = command.replace("-", "_")
    return getattr(import_module(f"boxwise_cli.{name}"), name)


class _Subcommands(TyperGroup):
    """The table above, as typer asks for it. The context is click's or typer's own, by typer's version."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        single = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        single.command(cmd_name)(_function(cmd_name))
        return typer.main.get_command(single)


app = typer.Typer(cls=_Subcommands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


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
