"""`boxwise inspect`: what a checkpoint is taken for, and why."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwise_cli.exits import needs, needs_runtime, reported

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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
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
        seen = run(weights, sides)
    if as_json:
        typer.echo(json.dumps(seen.document(), indent=2, ensure_ascii=False))
    else:
        _show(seen)
    if images and draw:
        with reported(ExportError):
            found = run_on_images(
                weights, seen, images, draw, size=sides, family=family, labels=labels
            )
        typer.echo(f"annotated images and contact-sheet.jpg are in {draw}", err=True)
        for warning in found:
            typer.echo(f"WARNING: {warning}", err=True)
    if seen.kind is None:
        raise typer.Exit(1)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Height and width of "320" (both sides) or "384x640"; None for None."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise typer.BadParameter(
            "--size: expected a side such as 320, or HEIGHTxWIDTH such as 384x640, got "
            f"{text!r:.40}"
        )
    return int(sides[0]), int(sides[-1])


def _show(seen: "Inspection") -> None:
    rows = {
        "model": f"{seen.weights} ({seen.origin})",
        "licence": seen.licence or "not known; ask whoever trained it",
        "input": seen.input,
        "outputs": ", ".join(f"{name} {shape}" for name, shape in seen.outputs.items()),
        "batch": seen.batch,
        "taken for": " ".join(filter(None, (seen.kind or "nothing known", seen.family))),
        "because": seen.why,
        "assumed": "; ".join(seen.assumed),
        "also read by": ", ".join(seen.others),
        "classes": None if seen.classes is None else str(seen.classes),
        **seen.metadata,
        "labels": None
        if seen.labels is None
        else f"{', '.join(seen.labels[:5])}{', ...' if len(seen.labels) > 5 else ''}",
    }
    for name, value in rows.items():
        if value:
            typer.echo(f"{name:<14}{value}")
    for name, (value, who) in seen.preprocessing.items():
        if isinstance(value, dict):  # normalize
            value = ", ".join(f"{key} {list(channels)}" for key, channels in value.items())
        elif isinstance(value, tuple):
            value = " x ".join(map(str, value))
        typer.echo(f"{name:<14}{value}  (by {who})")
