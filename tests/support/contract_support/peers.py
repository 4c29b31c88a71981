"""The demo, real and with null models, as the peers of the benchmark get it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from boxwise_benchmarks.baselines.raw import RawPipeline, nullify_raw, read_raw
from boxwise_benchmarks.baselines.read import read_recipe
from boxwise_benchmarks.baselines.recipe import Recipe
from boxwise_export.checkpoints.download import fetch
from boxwise_export.demo import prepare_demo
from boxwise_export.demo_assets import PHOTOS
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_perf.null import nullify
from boxwise_runtime.cache import cache_folder


@dataclass(frozen=True)
class PeerCase:
    """A repository, `real` or `null`, and what peers need to know of it."""

    name: str
    repository: Path
    recipe: Recipe
    raw: RawPipeline


def demo_cases(folder: Path) -> dict[str, PeerCase]:
    """Both, exported into a folder."""
    prepare_demo(cache_folder(), folder / "real", lambda line: None)
    change_layout(folder / "real", None, ServingConfig("ensemble"))  # peers call its networks
    nullify(folder / "real", folder / "null")
    real, null = (read_recipe(folder / name) for name in ("real", "null"))
    raw = read_raw(cache_folder() / "demo" / "pipeline.yaml", real)
    return {
        "real": PeerCase("real", folder / "real", real, raw),
        "null": PeerCase("null", folder / "null", null, nullify_raw(raw, null)),
    }


def jpegs() -> list[bytes]:
    """The demo's photos as JPEG files, and a grey one of 40 x 30 pixels in which nothing is."""
    photos = fetch(PHOTOS, cache_folder() / "demo", lambda line: None).values()
    return [
        *(_jpeg(Image.open(photo)) for photo in photos),
        _jpeg(Image.new("RGB", (40, 30), (128, 128, 128))),
    ]


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()
