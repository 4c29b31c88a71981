"""Where weights come from: each source reads one kind of checkpoint and returns an ONNX model."""

from __future__ import annotations

import onnx

from boxwise_export.pipeline import Weights
from boxwise_export.sources.errors import SourceError
from boxwise_export.sources.onnx_file import read_onnx

__all__ = ["SourceError", "read_source"]


def read_source(weights: Weights, key: str, size: tuple[int, int] | None) -> onnx.ModelProto:
    """Read a checkpoint, whatever its kind.

    Args:
        weights: from the pipeline file.
        key: where they stand in it, for errors.
        size: height and width of the pictures, where the file says so; a PyTorch checkpoint needs it.

    Raises:
        SourceError: an unknown kind, or a file that cannot be read.
    """
    match weights.file.suffix.lower():
        case ".onnx":
            return read_onnx(weights.file, weights.outputs)
        case ".json":
            from boxwise_export.sources.tfjs import read_tfjs

            return read_tfjs(weights.file, weights.outputs)
        case ".pt" | ".pth":
            if weights.architecture is None or size is None:
                missing = "architecture (package.module:factory)" if size else "size of its input"
                raise SourceError(f"{key}: a PyTorch checkpoint holds weights only; name the {missing} as well")
            from boxwise_export.sources.pytorch import read_pytorch

            return read_pytorch(weights.file, weights.architecture, weights.arguments, *size)
        case suffix:
            raise SourceError(
                f"{key}: {weights.file.name} ends in {suffix or 'nothing'}; expected .onnx, a TFJS model.json, "
                "or a PyTorch .pt or .pth"
            )
