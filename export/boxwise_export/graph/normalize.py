"""Pixels as they are served, uint8 and channels last, become what a source was trained on."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from boxwise_export.graph.builder import GraphBuilder
from boxwise_export.graph.source import SourceInput
from boxwise_export.pipeline import Normalize


def normalized(graph: GraphBuilder, pixels: str, normalize: Normalize, source: SourceInput) -> str:
    """(pixels - mean) / std in the source's layout and type.

    Cast comes before Transpose: TensorRT takes uint8 only at the edge of a graph.

    Args:
        graph: being built.
        pixels: uint8 [B, H, W, 3].
        normalize: mean and std in units of 0 to 255.
        source: what takes the result.
    """
    mean, std = np.array(normalize.mean, np.float32), np.array(normalize.std, np.float32)
    tensor = graph.op("Cast", pixels, to=TensorProto.FLOAT)
    if mean.any():
        tensor = graph.op("Sub", tensor, graph.constant(mean, np.float32))
    if (std != 1).any():
        tensor = graph.op("Mul", tensor, graph.constant(1 / std, np.float32))
    if source.layout == "NCHW":
        tensor = graph.op("Transpose", tensor, perm=[0, 3, 1, 2])
    if source.element_type != TensorProto.FLOAT:
        tensor = graph.op("Cast", tensor, to=source.element_type)
    return str(tensor)
