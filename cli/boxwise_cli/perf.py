"""`boxwise perf`: what a served pipeline does under load, as a group of commands."""

import typer

from boxwise_cli.subcommands import subcommands

PERF_COMMANDS = (  # in the order of --help; `run` is boxwise_cli.perf_run.run
    "run",
    "slo",
    "compare",
    "tune",
    "report",
)

perf = typer.Typer(
    name="perf",
    cls=subcommands(PERF_COMMANDS, prefix="perf_"),
    no_args_is_help=True,
    add_completion=False,
    help="Load a served pipeline, find its highest rate at a latency, compare two, tune one, and draw a report.",
)


@perf.callback()
def _group() -> None:
    """Typer makes a group only of an app that has a callback or several commands of its own."""
