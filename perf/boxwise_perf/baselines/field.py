"""The field: every peer of one run, ours first."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from boxwise_export.arrangement import Arrangement, Layout
from boxwise_export.publish import rearrange
from boxwise_perf.baselines.base import Peer
from boxwise_perf.baselines.frameworks import FRAMEWORKS
from boxwise_perf.baselines.in_process import InProcess
from boxwise_perf.baselines.per_crop import PerCrop
from boxwise_perf.baselines.raw import RawPipeline
from boxwise_perf.baselines.recipe import Recipe
from boxwise_perf.baselines.served import OURS, Served
from boxwise_perf.baselines.tutorial import Tutorial
from boxwise_perf.baselines.two_calls import TwoCalls

__all__ = ["OURS", "lay_out", "peers_of"]


def lay_out(repository: Path) -> dict[Layout, Path]:
    """A repository in the layout `ensemble`, and copies of it beside it in the others."""
    repositories: dict[Layout, Path] = {}
    for layout in get_args(Layout):
        repositories[layout] = repository
        if layout != "ensemble":
            repositories[layout] = repository.with_name(f"{repository.name}-{layout}")
            shutil.copytree(repository, repositories[layout])
            rearrange(repositories[layout], None, Arrangement(layout))
    return repositories


def peers_of(repositories: Mapping[Layout, Path], recipe: Recipe, raw: RawPipeline, *, frameworks: bool) -> list[Peer]:
    """Every peer, not yet started.

    Args:
        repositories: of one pipeline, by layout; `ensemble` among them.
        recipe: of it.
        raw: its networks.
        frameworks: whether LitServe and BentoML are to be among them.
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
