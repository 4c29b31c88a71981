"""`boxwise perf`: the commands that measure a served pipeline under load."""

import typer

from boxwise_cli.perf_compare import compare
from boxwise_cli.perf_report import report
from boxwise_cli.perf_run import run
from boxwise_cli.perf_slo import slo
from boxwise_cli.perf_tune import tune

perf = typer.Typer(
    name="perf",
    no_args_is_help=True,
    help="Load a served pipeline, find its highest rate at a latency, compare two, tune one, and "
    "draw a report.",
)
for command in (run, slo, compare, tune, report):  # in the order of --help
    perf.command()(command)
