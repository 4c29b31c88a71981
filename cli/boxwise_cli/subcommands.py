"""A group of commands as a table of names, of which only the one that runs is imported."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
import typer.main
from typer.core import TyperGroup


def subcommands(names: Sequence[str], prefix: str = "") -> type[TyperGroup]:
    """A group for `typer.Typer(cls=...)`.

    `check-tensorrt` is boxwise_cli.check_tensorrt.check_tensorrt, and with the prefix `perf_`, `run` is
    boxwise_cli.perf_run.run: a function, or a `typer.Typer` that is a group itself. A function's docstring is its help.
    All modules are imported for --help, so they import what an extra brings inside their functions, under `needs`.

    Args:
        names: in the order of --help.
        prefix: of the modules' names.
    """

    class Subcommands(TyperGroup):
        """The names, as typer asks for them. The context is click's or typer's own, by typer's version."""

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
            return list(names)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
            if cmd_name not in names:
                return None
            attribute = cmd_name.replace("-", "_")
            found = getattr(import_module(f"boxwise_cli.{prefix}{attribute}"), attribute)
            if isinstance(found, typer.Typer):
                return typer.main.get_command(found)
            single = typer.Typer(add_completion=False, rich_markup_mode="markdown")
            single.command(cmd_name)(found)
            return typer.main.get_command(single)

    return Subcommands
