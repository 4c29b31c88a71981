"""A model that rendered servers wait for."""

from __future__ import annotations

from pathlib import Path

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
