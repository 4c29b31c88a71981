"""PyTorch checkpoints: weights in a file, and the architecture that they belong to."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boxwise_export.checkpoints.base import Source, file_digest
from boxwise_export.checkpoints.torch_module import (
    load_strictly,
    needs,
    read_state,
    torch_run,
    trace,
)
from boxwise_export.errors import SourceError

_OUTPUTS = ("logits",)


def read_pytorch(
    path: Path, architecture: str, arguments: Sequence[Any], height: int, width: int
) -> Source:
    """Build the architecture, load the weights strictly, and export both to ONNX with a batch of
    any size.

    Args:
        path: a state dict, or a dict that holds one as `state_dict` or `model`.
        architecture: "package.module:factory", what makes the module; the package must be
            installed.
        arguments: of the factory.
        height: of the images that the graph is traced with, pixels.
        width: of the same.

    Raises:
        SourceError: PyTorch or the package is missing, the file is not weights, or they are of
            another architecture.
    """
    try:
        import torch
    except ImportError as error:
        raise needs("PyTorch", "torch", f"{path}: a PyTorch checkpoint") from error

    module = load_strictly(_build(architecture, arguments), read_state(path), path, architecture)
    model = trace(module, _OUTPUTS, height, width)
    return Source(
        model,
        torch_run(module, _OUTPUTS),
        f"PyTorch {torch.__version__} {architecture}",
        file_digest(path),
    )


def _build(architecture: str, arguments: Sequence[Any]) -> Any:
    module_name, _, attribute = architecture.partition(":")
    try:
        factory: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise SourceError(
            f"architecture {architecture!r}: {error}; install the package that defines it, "
            "or correct the name"
        ) from error
    try:
        return factory(*arguments)
    except Exception as error:
        raise SourceError(
            f"architecture {architecture!r} called with {list(arguments)!r} failed: {error}"
        ) from error
