"""`boxwise layout`: print or change the layout of a pipeline."""

from dataclasses import asdict, replace
from typing import Annotated

import typer

from boxwise_cli.exits import needs, reported
from boxwise_cli.options import Pipeline, Repository
from boxwise_cli.printing import print_json
from boxwise_export.repository.serving_config import Layout


def layout(
    repository: Repository,
    to: Annotated[
        Layout | None,
        typer.Argument(
            metavar="[LAYOUT]", help="ensemble, bls or fused; default: only print the current one."
        ),
    ] = None,
    pipeline: Pipeline = None,
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
        serving = manifest.serving()
        wanted = replace(
            serving,
            layout=to or serving.layout,
            max_queue=serving.max_queue if max_queue is None else max_queue,
            max_wait_ms=serving.max_wait_ms if max_wait_ms is None else max_wait_ms,
        )
        if to is not None or wanted != serving:
            publication = change_layout(repository, manifest.pipeline, wanted)
            for line in publication.lines():
                typer.echo(line, err=as_json)
            serving = publication.revision.serving or wanted
    if as_json:
        instances = {"instances": serving.served_instances}
        print_json({"pipeline": manifest.pipeline} | asdict(serving) | instances)
        return
    typer.echo(f"{manifest.pipeline}: {serving.describe()}")
