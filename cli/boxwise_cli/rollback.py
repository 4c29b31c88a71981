"""`boxwise rollback`: serve an earlier revision of a pipeline."""

from typing import Annotated

import typer

from boxwise_cli.exits import needs, reported
from boxwise_cli.options import Pipeline, Repository
from boxwise_cli.printing import print_json


def rollback(
    repository: Repository,
    pipeline: Pipeline = None,
    to: Annotated[
        int | None,
        typer.Option(
            metavar="REVISION", help="The revision to serve; default: the one served before."
        ),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Only list the revisions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the revisions as JSON.")] = False,
) -> None:
    """Serve an earlier revision of a pipeline, or a later one again.

    A running server keeps what it has loaded until it restarts, unless it was started with
    --reload.
    """
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.repository.manifest import find_manifest
        from boxwise_export.repository.revisions import rollback as run

    with reported(ExportError):
        manifest = find_manifest(repository, pipeline) if listed else run(repository, pipeline, to)
    if as_json:
        revisions = [
            {
                "revision": each.number,
                "published": each.published,
                "precision": each.precision,
                "models": each.models,
            }
            for each in manifest.revisions
        ]
        print_json(
            {"pipeline": manifest.pipeline, "current": manifest.current, "revisions": revisions}
        )
        return
    for each in manifest.revisions:
        mark = "serves " if each.number == manifest.current else "       "
        typer.echo(
            f"{mark}{manifest.pipeline} revision {each.number}, published {each.published}, "
            f"{each.precision}"
        )
