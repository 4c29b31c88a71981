"""`boxwise diff`: the difference of two revisions of a pipeline, in one or two repositories."""

from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import FAILED, fail, needs, reported
from boxwise_cli.printing import print_json


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
        for text in (one, other):
            repository, number = _parse(text)
            revisions.append(find_manifest(repository, pipeline).revision(number))
    difference = compare(*revisions)
    if as_json:
        print_json(difference.document())
    else:
        for line in difference.lines():
            typer.echo(line)
    if exit_code and not difference.equal:
        raise typer.Exit(FAILED)


def _parse(text: str) -> tuple[Path, int | None]:
    """Return the repository and the revision of REPO@REVISION or REPO. A REPO may contain @."""
    folder, at, number = text.rpartition("@")
    if not at or Path(text).exists():
        return Path(text), None
    if not number.isdigit():
        fail(f"{text}: expected REPO@REVISION, where the revision is a number; got {number!r}")
    return Path(folder), int(number)
