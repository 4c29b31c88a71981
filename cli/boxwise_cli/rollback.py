"""`boxwise rollback`: go back to an earlier revision of a pipeline."""

import json
from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import needs, reported


def rollback(
    repository: Annotated[
        Path, typer.Argument(metavar="REPO", help="What `boxwise export` wrote.")
    ],
    pipeline: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which, where the repository has several.")
    ] = None,
    to: Annotated[
        int | None,
        typer.Option(metavar="REVISION", help="Left out, the one that was served before."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Only show the revisions there are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the revisions as JSON.")] = False,
) -> None:
    """Serve an earlier revision of a pipeline, or a later one again.

    A server that is running goes on with what it has loaded until it is started again, unless it
    was started with
    --reload, and follows.
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
        document = {
            "pipeline": manifest.pipeline,
            "current": manifest.current,
            "revisions": revisions,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    for each in manifest.revisions:
        mark = "serves " if each.number == manifest.current else "       "
        typer.echo(
            f"{mark}{manifest.pipeline} revision {each.number}, published {each.published}, "
            f"{each.precision}"
        )
