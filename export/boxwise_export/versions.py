"""Which version of a model a repository serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2


def current_version(repository: Path, model: str) -> int:
    """The version that the model's config.pbtxt names, or, where it names none, the highest there is."""
    folder = repository / model
    config: Any = text_format.Parse(
        (folder / "config.pbtxt").read_text(encoding="utf-8"), model_config_pb2.ModelConfig()
    )
    if named := config.version_policy.specific.versions:
        return int(max(named))
    return max(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())
