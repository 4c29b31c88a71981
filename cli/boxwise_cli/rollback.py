"""`boxwise rollback`: go back to an earlier revision of a pipeline."""

import json
from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import needs, reported


def rollback(
    repository: Annotated[Path, typer.Argument(metavar="REPO", help="The model repository.")],
    pipeline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The pipeline, if the repository has several."),
    ] = None,
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
