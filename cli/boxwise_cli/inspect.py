"""`boxwise inspect`: what a checkpoint is recognised as, and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwise_cli.exits import FAILED, needs, needs_runtime, reported
from boxwise_cli.options import AsJson
from boxwise_cli.printing import note, print_json

if TYPE_CHECKING:
    from boxwise_export.inspection import Inspection


def inspect(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A file, a folder, or a name such as timm:resnet18."),
    ],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIDE|HEIGHTxWIDTH",
            help="Size of the input, if the graph takes any: 320, or 384x640.",
        ),
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(metavar="A,B", help="Use only these outputs of the graph.")
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Read a file that can run code when it is read.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run it on these images; with --draw."),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT", help="Folder for annotated images and a contact sheet; with --images."
        ),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Detector family for --draw; default: the recognised one.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="SET|FILE",
            help="Class names for --draw: coco, or a file; default: from the weights.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report what a checkpoint is: its detector family and why, inputs, outputs and licence.

    The graph runs on noise, and with --images on images. Exits with 1 if it is neither a detector
    nor a classifier that boxwise knows.
    """
    needs_runtime()
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.inspection import draw as run_on_images
        from boxwise_export.inspection import inspect as run
        from boxwise_export.pipeline import FRAMEWORKS, Weights

    if (images is None) != (draw is None):
        raise typer.BadParameter("--images DIR and --draw OUT go together")
    sides = parse_size(size)
    from_framework = model.partition(":")[0] in FRAMEWORKS
    weights = Weights(
        source=model if from_framework else None,
        file=None if from_framework else Path(model),
        outputs=outputs.split(",") if outputs else None,
        trust_pickle=trust_pickle,
    )
    with reported(ExportError):
        inspection = run(weights, sides)
    if as_json:
        print_json(inspection.document())
    else:
        _show(inspection)
    if images and draw:
        with reported(ExportError):
            warnings = run_on_images(
                weights, inspection, images, draw, size=sides, family=family, labels=labels
            )
        note(f"annotated images and contact-sheet.jpg are in {draw}")
        for warning in warnings:
            note(f"WARNING: {warning}")
    if inspection.kind is None:
        raise typer.Exit(FAILED)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return height and width of "320" (both sides) or "384x640"; None for None."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise typer.BadParameter(
            "--size: expected a side such as 320, or HEIGHTxWIDTH such as 384x640, got "
            f"{text!r:.40}"
        )
    return int(sides[0]), int(sides[-1])


def _show(inspection: "Inspection") -> None:
    rows = {
        "model": f"{inspection.weights} ({inspection.origin})",
        "licence": inspection.licence or "unknown; ask its author",
        "input": inspection.input,
        "outputs": ", ".join(f"{name} {shape}" for name, shape in inspection.outputs.items()),
        "batch": inspection.batch,
        "taken for": " ".join(
            filter(None, (inspection.kind or "nothing known", inspection.family))
        ),
        "because": inspection.why,
        "assumed": "; ".join(inspection.assumed),
        "also read by": ", ".join(inspection.others),
        "classes": None if inspection.classes is None else str(inspection.classes),
        **inspection.metadata,
        "labels": None
        if inspection.labels is None
        else f"{', '.join(inspection.labels[:5])}{', ...' if len(inspection.labels) > 5 else ''}",
    }
    for name, value in rows.items():
        if value:
            typer.echo(f"{name:<14}{value}")
    for name, (value, source) in inspection.preprocessing.items():
        if isinstance(value, dict):  # normalize
            value = ", ".join(f"{key} {list(channels)}" for key, channels in value.items())
        elif isinstance(value, tuple):
            value = " x ".join(map(str, value))
        typer.echo(f"{name:<14}{value}  (by {source})")
