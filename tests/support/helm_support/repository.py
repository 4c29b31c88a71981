"""What rendered servers serve: dots that a detector finds, and their shade (contract_support/synthetic)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from contract_support.synthetic import DOTS, SHADE, write_dots_detector, write_mean_classifier

from boxwise_export.export import export


def write_repository(folder: Path, name: str, **more: Any) -> Path:
    """A pipeline of this name; `more` goes into its file, and what is None comes out of it."""
    sources, out = folder / "sources", folder / "repository"
    sources.mkdir(parents=True)
    write_dots_detector(sources / "dots.onnx")
    write_mean_classifier(sources / "mean.onnx")
    pipeline = {"name": name, "detector": DOTS, "classifiers": [SHADE], **more}
    (sources / "pipeline.yaml").write_text(
        yaml.safe_dump({key: value for key, value in pipeline.items() if value is not None})
    )
    export(sources / "pipeline.yaml", out, cores=1)
    return out


SLOW_CONFIG = """
name: "slow"
backend: "python"
max_batch_size: 0
input [ { name: "x" data_type: TYPE_UINT8 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_UINT8 dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
SLOW_MODEL = """
import time


class TritonPythonModel:
    def initialize(self, args):
        time.sleep({seconds})
"""


def add_slow_model(repository: Path, seconds: float) -> None:
    """A model that takes so long to load."""
    (repository / "slow" / "1").mkdir(parents=True)
    (repository / "slow" / "config.pbtxt").write_text(SLOW_CONFIG)
    (repository / "slow" / "1" / "model.py").write_text(SLOW_MODEL.format(seconds=seconds))
