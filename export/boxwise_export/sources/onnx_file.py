"""ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from boxwise_export.sources.errors import SourceError


def read_onnx(path: Path, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
    """Read an ONNX file, its external data included.

    Args:
        path: the file.
        outputs: keep only these of the graph's outputs; None keeps all.

    Raises:
        SourceError: no such file, not an ONNX model, weights missing beside it, or no such output.
    """
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise SourceError(f"{path}: no such file ({error})" if path.exists() else f"{path}: no such file") from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"{path}: not an ONNX model that can be read ({reason})") from error
    if outputs is not None:
        found = {output.name: output for output in model.graph.output}
        if unknown := [name for name in outputs if name not in found]:
            raise SourceError(f"{path}: has no output {unknown[0]!r}; it has {', '.join(found)}")
        del model.graph.output[:]
        model.graph.output.extend(found[name] for name in outputs)
    return model
