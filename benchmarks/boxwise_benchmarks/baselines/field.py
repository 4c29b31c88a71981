"""Every peer of one run, ours first."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from boxwise_benchmarks.baselines.base import Peer
from boxwise_benchmarks.baselines.frameworks import FRAMEWORKS
from boxwise_benchmarks.baselines.in_process import InProcess
from boxwise_benchmarks.baselines.per_crop import PerCrop
from boxwise_benchmarks.baselines.raw import RawPipeline
from boxwise_benchmarks.baselines.recipe import Recipe
from boxwise_benchmarks.baselines.served import OURS, Served
from boxwise_benchmarks.baselines.tutorial import Tutorial
from boxwise_benchmarks.baselines.two_calls import TwoCalls
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import LAYOUTS, Layout, ServingConfig

__all__ = ["OURS", "lay_out", "peers_of"]


def lay_out(repository: Path) -> dict[Layout, Path]:
    """Copy a repository, one copy per layout, beside it."""
    repositories: dict[Layout, Path] = {}
    for layout in LAYOUTS:
        repositories[layout] = repository.with_name(f"{repository.name}-{layout}")
        shutil.copytree(repository, repositories[layout])
        change_layout(repositories[layout], None, ServingConfig(layout))
    return repositories


def peers_of(
    repositories: Mapping[Layout, Path], recipe: Recipe, raw: RawPipeline, *, frameworks: bool
) -> list[Peer]:
    """Return every peer, not started.

    Args:
        repositories: of one pipeline, by layout, including `ensemble`.
        recipe: of the pipeline.
        raw: its networks.
        frameworks: whether to include LitServe and BentoML.
    """
    ensemble = repositories["ensemble"]
    return [
        *(Served(repository, recipe, layout) for layout, repository in repositories.items()),
        InProcess(recipe),
        TwoCalls(ensemble, recipe),
        PerCrop(ensemble, recipe),
        Tutorial(raw),
        *(framework(recipe) for framework in (FRAMEWORKS if frameworks else ())),
    ]
