"""`boxwise validate`: what a pipeline file would export,
and which class goes to which classifier.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwise_cli.exits import needs, needs_runtime, reported

if TYPE_CHECKING:
    from boxwise_export.plan import Plan


def validate(
    pipeline: Annotated[Path, typer.Argument(metavar="PIPELINE.yaml", help="The pipeline file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Check a pipeline file and its checkpoints without writing anything.

    Checkpoints are read and graphs are built, so what passes can be exported.
    """
    needs_runtime()
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.pipeline import load_pipeline
        from boxwise_export.plan import make_plan
        from boxwise_export.summary import document

    with reported(ExportError):
        plan = make_plan(load_pipeline(pipeline), report=lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps(document(plan), indent=2, ensure_ascii=False))
    else:
        _show(plan)


def _show(plan: "Plan") -> None:
    from rich.console import Console
    from rich.table import Table

    from boxwise_export.summary import routes

    parts = Table(
        "", "graph", "input", "settings", title=f"pipeline {plan.name}", title_justify="left"
    )
    if detector := plan.detector:
        canvas, spec = detector.canvas, detector.spec
        parts.add_row(
            "detector",
            f"{detector.family}, {len(detector.labels)} classes",
            f"{canvas.height} x {canvas.width} {canvas.resize}, {canvas.color_order}, batch "
            f"{detector.max_batch_size}",
            f"score {spec.score_threshold:g}, IoU {spec.iou_threshold:g}, at most "
            f"{spec.max_detections}",
        )
    for classifier in plan.classifiers:
        crop = classifier.crop
        parts.add_row(
            classifier.spec.name,
            f"{classifier.activation}, {len(classifier.labels)} labels",
            f"{crop.height} x {crop.width}, {crop.color_order}, batch {classifier.max_batch_size}",
            f"padding {crop.padding:g}, top {classifier.top_k}",
        )
    console = Console()
    console.print(parts)
    if plan.detector and plan.classifiers:
        asked = Table("asked about", "classes", title_justify="left")
        for names, classes in routes(plan).items():
            asked.add_row(", ".join(names) or "no classifier", ", ".join(classes))
        console.print(asked)
