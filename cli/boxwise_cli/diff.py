"""`boxwise diff`: what differs between two revisions of a pipeline, in one repository or in two."""

import json
from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import FAILED, fail, needs, reported


def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="REPO, or REPO@REVISION.")],
    other: Annotated[str, typer.Argument(metavar="B", help="REPO, or REPO@REVISION.")],
    pipeline: Annotated[
        str | None, typer.Option(metavar="NAME", help="The pipeline, if a repository has several.")
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if the models differ.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the difference as JSON.")] = False,
) -> None:
    """Print how A and B differ: models, files, pipeline file, sources, versions, figures."""
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.repository.diff import compare
        from boxwise_export.repository.manifest import find_manifest

    with reported(ExportError):
        revisions = []
        for said in (one, other):
            repository, number = _parse(said)
            revisions.append(find_manifest(repository, pipeline).revision(number))
    difference = compare(*revisions)
    if as_json:
        typer.echo(json.dumps(difference.document(), indent=2, ensure_ascii=False))
    else:
        for line in difference.lines():
            typer.echo(line)
    if exit_code and not difference.equal:
        raise typer.Exit(FAILED)


def _parse(said: str) -> tuple[Path, int | None]:
    """REPO@REVISION, or REPO, whose name may have an @ in it too."""
    folder, at, number = said.rpartition("@")
    if not at or Path(said).exists():
        return Path(said), None
    if not number.isdigit():
        fail(f"{said}: expected REPO@REVISION, where the revision is a number; got {number!r}")
    return Path(folder), int(number)
