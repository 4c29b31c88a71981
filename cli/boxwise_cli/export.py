"""`boxwise export`: a model repository from a pipeline file and its checkpoints."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from boxwise_cli.exits import needs, needs_runtime, reported
from boxwise_cli.printing import note, print_json


def export(
    pipeline: Annotated[
        Path,
        typer.Argument(
            metavar="PIPELINE.yaml",
            help="The pipeline file; `boxwise init` writes one to start from.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="REPO", help="The model repository; created if missing.")
    ],
    cores: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instances for this many cores; default: the cores of the machine that serves.",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(help="Precision of the networks; decoding and top-k stay in fp32."),
    ] = "fp32",
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Images to compare with the source on; default: the demo's photos.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A labelled set; accuracy on it judges a lower precision."
        ),
    ] = None,
    keep: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Revisions to keep for `boxwise rollback`, this one included.",
        ),
    ] = 3,
    sheet: Annotated[
        bool,
        typer.Option("--sheet/--no-sheet", help="Write a contact sheet of annotated images."),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was published as JSON.")
    ] = False,
) -> None:
    """Export checkpoints into a model repository for Triton, if the export equals its source.

    Other pipelines of the repository stay as they are. On failure or Ctrl-C, so does this one.
    """
    needs_runtime()
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.export import export as run
        from boxwise_export.summary import document

    if data:
        with needs("eval"):
            import pycocotools  # noqa: F401

    with reported(ExportError):
        exported = run(
            pipeline,
            out,
            cores=cores,
            precision=precision,
            calibration=calibration,
            data=data,
            keep=keep,
            sheet=sheet,
            report=note,
        )
    if as_json:
        revision = exported.publication.revision
        print_json(
            document(exported.plan)
            | {
                "parity": exported.parity.document(),
                "accuracy": exported.accuracy and exported.accuracy.document(),
                "warnings": list(exported.warnings),
                "sheet": revision.sheet,
                "repository": str(out),
                "revision": revision.number,
                "versions": revision.models,
                "changed": list(exported.publication.changed),
            }
        )
    else:
        typer.echo(
            f"{exported.plan.name} is in {out}; serve it with: boxwise serve "
            f"{shlex.quote(str(out))}"
        )
