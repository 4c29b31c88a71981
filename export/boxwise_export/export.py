"""The whole way: pipeline file -> plan -> models -> repository."""

from __future__ import annotations

from pathlib import Path

from boxwise_export.pipeline import load_pipeline
from boxwise_export.plan import Plan, Report, make_plan
from boxwise_export.publish import publish
from boxwise_export.repository import build_repository


def export(file: Path, out: Path, *, cores: int | None = None, report: Report = lambda _: None) -> Plan:
    """Export a pipeline file into a model repository.

    Args:
        file: the pipeline file.
        out: the repository; made where there is none.
        cores: of the machine that will serve; None for this one's.
        report: told each step.

    Raises:
        ExportError: what is wrong, where, and the mend; the repository is as it was.
    """
    pipeline = load_pipeline(file)
    plan = make_plan(pipeline, cores=cores, report=report)
    folders = build_repository(plan)
    report(f"publishing {len(folders)} models to {out}")
    publish(plan, pipeline, folders, out)
    return plan
