"""PyTorch checkpoints: weights in a file, and the architecture that they belong to."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from boxwise_export.graph.builder import OPSET
from boxwise_export.sources.base import Floats, Source, file_digest
from boxwise_export.sources.errors import SourceError


def read_pytorch(path: Path, architecture: str, arguments: Sequence[Any], height: int, width: int) -> Source:
    """Build the architecture, load the weights strictly, and export both to ONNX with a batch of any size.

    Args:
        path: a state dict, or a dict that holds one as `state_dict` or `model`; read with `weights_only=True`, so
            that a file can carry no code.
        architecture: "package.module:factory", what makes the module; the package must be installed.
        arguments: of the factory.
        height: of the pictures that the graph is traced with, pixels.
        width: of the same.

    Raises:
        SourceError: PyTorch or the package is missing, the file is not weights, or they are of another architecture.
    """
    try:
        import torch
    except ImportError as error:
        raise SourceError(f'{path}: a PyTorch checkpoint needs PyTorch: pip install "boxwise[torch]"') from error

    module = _build(architecture, arguments)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SourceError(f"{path}: no such file") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(f"{path}: not a file of PyTorch weights ({reason})") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    try:
        module.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(f"{path}: not the weights of {architecture}: {reason}") from error

    module = module.eval()
    exported = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is announced as legacy; the other needs onnxscript, and cannot export every model here.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, 3, height, width),),
            exported,  # type: ignore[arg-type]  # a buffer works, and is not in its annotation
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
            dynamo=False,
        )

    def run(pictures: Floats) -> dict[str, Floats]:
        with torch.no_grad():
            return {"logits": np.asarray(module(torch.from_numpy(pictures)), np.float32)}

    model = onnx.load_from_string(exported.getvalue())
    return Source(model, run, f"PyTorch {torch.__version__} {architecture}", file_digest(path))


def _build(architecture: str, arguments: Sequence[Any]) -> Any:
    module_name, _, attribute = architecture.partition(":")
    try:
        factory: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise SourceError(
            f"architecture {architecture!r}: {error}; install the package that defines it, or correct the name"
        ) from error
    try:
        return factory(*arguments)
    except Exception as error:
        raise SourceError(f"architecture {architecture!r} called with {list(arguments)!r} failed: {error}") from error
