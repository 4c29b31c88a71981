"""One repository with every pipeline of the contract, and one server for all its tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from contract_support.calls import Triton
from contract_support.once import made_once
from contract_support.servers import launched
from contract_support.synthetic import (
    DOTS,
    SHADE,
    write_dots_detector,
    write_mean_classifier,
    write_pixels_classifier,
)

from boxwise_export.checkpoints.download import fetch
from boxwise_export.demo_assets import DEMO_ASSETS
from boxwise_export.export import export
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_runtime.cache import cache_folder
from boxwise_runtime.launcher import ServerOptions

ROOT = Path(__file__).resolve().parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"
DEMO_PIPELINE = ROOT / "export" / "boxwise_export" / "demo.yaml"

SYNTHETIC = {
    "dots": {
        "detector": DOTS,
        "classifiers": [
            SHADE,
            SHADE | {"name": "reds", "only": ["red"], "activation": "softmax", "top_k": 1},
            SHADE
            | {
                "name": "vivid",
                "weights": "mean_8.onnx",
                "activation": "sigmoid",
                "threshold": 0.99,
            },
        ],
    },
    "scaled": {"detector": DOTS | {"canvas": {"pad_value": 0, "scaled_decoding": True}}},
    "thousand": {"detector": DOTS | {"max_detections": 1000}, "classifiers": [SHADE]},
    "whole": {
        "max_megapixels": 0.1,
        "classifiers": [
            {
                "name": "stretched",
                "weights": "pixels_16.onnx",
                "labels": [f"value {i}" for i in range(16 * 16 * 3)],
                "activation": "none",
                "top_k": 16 * 16 * 3,
                "crop": {"size": 16},
            },
            {
                "name": "centred",
                "weights": "pixels_8.onnx",
                "labels": [f"value {i}" for i in range(8 * 8 * 3)],
                "activation": "none",
                "top_k": 8 * 8 * 3,
                "crop": {"size": 8, "resize_shorter": 16},
            },
        ],
    },
}


@pytest.fixture(scope="session")
def demo_assets() -> dict[str, Path]:
    """The demo's models and photos, fetched into the user's cache the first time."""
    return fetch(DEMO_ASSETS, cache_folder() / "demo", lambda line: None)


@pytest.fixture(scope="session")
def photos(demo_assets: dict[str, Path]) -> dict[str, bytes]:
    """The demo's photos, PNG files by their name without suffix."""
    return {path.stem: path.read_bytes() for path in demo_assets.values() if path.suffix == ".png"}


@pytest.fixture(scope="session")
def repository(
    demo_repository: Path, demo_assets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Pipelines boxwise (the demo), centernet (its detector), dots, scaled, thousand, whole and,
    with data, street.
    """

    def export_all(folder: Path) -> None:
        _export_all(demo_repository, demo_assets, folder)

    return made_once(tmp_path_factory, "served", export_all) / "repository"


def _export_all(demo_repository: Path, demo_assets: dict[str, Path], folder: Path) -> None:
    out, sources, compared = (folder / name for name in ("repository", "sources", "compared"))
    shutil.copytree(demo_repository, out)
    # As the others; test_layouts.py holds the layouts against it.
    change_layout(out, "boxwise", ServingConfig("ensemble"))

    # The demo is compared on all photos; one is enough for the others.
    compared.mkdir()
    shutil.copy(demo_assets["chelsea.png"], compared)
    sources.mkdir()
    write_dots_detector(sources / "dots.onnx")
    write_mean_classifier(sources / "mean.onnx")
    write_mean_classifier(sources / "mean_8.onnx", gain=8)
    write_pixels_classifier(sources / "pixels_16.onnx", 16)
    write_pixels_classifier(sources / "pixels_8.onnx", 8)
    detector = yaml.safe_load(DEMO_PIPELINE.read_text())["detector"]
    detector["weights"]["file"] = str(demo_assets["centernet.json"])
    pipelines = SYNTHETIC | {"centernet": {"detector": detector}}
    if SHARED_DATA.is_dir():
        weights = str(SHARED_DATA / "models" / "yolox_nano_coco.onnx")
        pipelines["street"] = {
            "detector": {"weights": weights, "labels": "coco", "nms": {"multi_label": True}}
        }
    for name, pipeline in pipelines.items():
        file = sources / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"name": name, **pipeline}))
        # One instance of a stage starts sooner than one a core; the demo has those.
        export(file, out, cores=1, calibration=compared)


@pytest.fixture(scope="session")
def triton(repository: Path) -> Iterator[Triton]:
    """The one server; its 41 Python processes take 10 s to start on two cores."""
    options = ServerOptions.on_free_ports(repository)
    with launched(options):
        yield Triton(options.grpc_url, f"http://{options.reachable_host}:{options.http_port}")
