"""`boxwise layout`: how a pipeline is laid out, and another layout of it."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from boxwise_cli.exits import needs, reported
from boxwise_export.repository.serving_config import Layout


def layout(
    repository: Annotated[Path, typer.Argument(metavar="REPO", help="The model repository.")],
    to: Annotated[
        Layout | None,
        typer.Argument(
            metavar="[LAYOUT]", help="ensemble, bls or fused; default: only print the current one."
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The pipeline, if the repository has several."),
    ] = None,
    max_queue: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Queued requests per worker process; further ones are rejected.",
        ),
    ] = None,
    max_wait_ms: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MS",
            help="Maximum time in the queue; a request that would wait longer is rejected.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the layout as JSON.")] = False,
) -> None:
    """Rearrange a published pipeline, or change its queues, as its next revision.

    It needs no weights, and responses stay the same. `fused` is one process per core with
    everything inside, `ensemble` one model per stage, `bls` one model that calls the networks. A
    running server keeps what it has loaded until it restarts.
    """
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.repository.manifest import find_manifest
        from boxwise_export.repository.publish import change_layout

    with reported(ExportError):
        manifest = find_manifest(repository, pipeline)
        found = manifest.serving()
        wanted = replace(
            found,
            layout=to or found.layout,
            max_queue=found.max_queue if max_queue is None else max_queue,
            max_wait_ms=found.max_wait_ms if max_wait_ms is None else max_wait_ms,
        )
        if to is not None or wanted != found:
            publication = change_layout(repository, manifest.pipeline, wanted)
            for line in publication.lines():
                typer.echo(line, err=as_json)
            found = publication.revision.serving or wanted
    if as_json:
        document = asdict(found) | {"instances": found.served_instances}
        typer.echo(json.dumps({"pipeline": manifest.pipeline, **document}, indent=2))
        return
    typer.echo(f"{manifest.pipeline}: {found.describe()}")
