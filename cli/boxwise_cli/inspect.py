"""`boxwise inspect`: what a checkpoint is taken for, and why."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwise_cli.errors import needs, needs_runtime, reported

if TYPE_CHECKING:
    from boxwise_export.inspection import Inspection


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A file, a folder, or a name such as timm:resnet18.")],
    size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="HEIGHT WIDTH", help="Where the graph takes pictures of any size.")
    ] = None,
    outputs: Annotated[str | None, typer.Option(metavar="A,B", help="Look at these outputs of the graph only.")] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Read a file that can run code when it is read.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Say which detector family a model is of and why, what it takes and gives, and its licence where it is known.

    The graph is run on noise. The exit code is 1 where it is neither a detector nor a classifier that boxwise knows.
    """
    needs_runtime()
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.inspection import inspect as run
        from boxwise_export.pipeline import FRAMEWORKS, Weights

    from_framework = model.partition(":")[0] in FRAMEWORKS
    with reported(ExportError):
        seen = run(
            Weights(
                source=model if from_framework else None,
                file=None if from_framework else Path(model),
                outputs=outputs.split(",") if outputs else None,
                trust_pickle=trust_pickle,
            ),
            size,
        )
    if as_json:
        typer.echo(json.dumps(seen.document(), indent=2, ensure_ascii=False))
    else:
        _show(seen)
    if seen.kind is None:
        raise typer.Exit(1)


def _show(seen: "Inspection") -> None:
    rows = {
        "model": f"{seen.weights} ({seen.origin})",
        "licence": seen.licence or "not known; ask whoever trained it",
        "input": seen.input,
        "outputs": ", ".join(f"{name} {shape}" for name, shape in seen.outputs.items()),
        "batch": seen.batch,
        "taken for": " ".join(filter(None, (seen.kind or "nothing known", seen.family))),
        "because": seen.why,
        "also read by": ", ".join(seen.others),
        "classes": None if seen.classes is None else str(seen.classes),
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
