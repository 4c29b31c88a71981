"""The command line: each subcommand is a function in a module of its name.

Every start imports all modules for their options. So packages that are heavy, or that come with an
extra, are imported inside the functions.
"""

from importlib.metadata import version
from typing import Annotated

import typer

from boxwise_cli.build_engines import build_engines
from boxwise_cli.cache import cache
from boxwise_cli.check_tensorrt import check_tensorrt
from boxwise_cli.demo import demo
from boxwise_cli.diff import diff
from boxwise_cli.doctor import doctor
from boxwise_cli.eval import eval as evaluate
from boxwise_cli.export import export
from boxwise_cli.init import init
from boxwise_cli.inspect import inspect
from boxwise_cli.layout import layout
from boxwise_cli.perf import perf
from boxwise_cli.predict import predict
from boxwise_cli.rollback import rollback
from boxwise_cli.serve import serve
from boxwise_cli.validate import validate

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"boxwise {version('boxwise')}")
        raise typer.Exit


@app.callback()
def boxwise(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """An image goes in; every object in it comes back with its box, its class, and what each
    classifier says of it.
    """


# In the order of --help.
for command in (
    demo,
    init,
    inspect,
    validate,
    export,
    diff,
    rollback,
    layout,
    build_engines,
    check_tensorrt,
    serve,
    predict,
    evaluate,
    doctor,
    cache,
):
    app.command()(command)
app.add_typer(perf)
