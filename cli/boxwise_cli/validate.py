"""`boxwise validate`: check a pipeline file, and show its stages and which classes they take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwise_cli.exits import needs, needs_runtime, reported
from boxwise_cli.options import AsJson
from boxwise_cli.printing import note, print_json

if TYPE_CHECKING:
    from boxwise_export.plan import Plan


def validate(
    pipeline: Annotated[Path, typer.Argument(metavar="PIPELINE.yaml", help="The pipeline file.")],
    as_json: AsJson = False,
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
        plan = make_plan(load_pipeline(pipeline), report=note)
    if as_json:
        print_json(document(plan))
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
        routed = Table("classified by", "classes", title_justify="left")
        for names, classes in routes(plan).items():
            routed.add_row(", ".join(names) or "no classifier", ", ".join(classes))
        console.print(routed)
