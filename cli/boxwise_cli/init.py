"""`boxwise init`: a commented pipeline file to start from."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import fail


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path(
        "pipeline.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented starter pipeline."""
    from importlib.resources import files

    text = files("boxwise_export").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        fail(f"{file} exists; name another file, or replace it with --force")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    typer.echo(f"wrote {file}; fill it in, then: boxwise validate {shlex.quote(str(file))}")
