"""Convert served pixels, uint8 and channels last, to what a source was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from boxwise_export.graphs.builder import GraphBuilder
from boxwise_export.graphs.source import Floats, SourceInput
from boxwise_export.pipeline import Normalize

# Grey from red, green and blue: ITU-R BT.601-7, 2.5.1, as OpenCV and Pillow have it.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def normalized(graph: GraphBuilder, pixels: str, normalize: Normalize, source: SourceInput) -> str:
    """(pixels - mean) / std in the source's layout, channels and type.

    Cast comes before Transpose: TensorRT takes uint8 only at the edge of a graph.

    Args:
        graph: being built.
        pixels: uint8 [B, H, W, 3]; RGB where the source takes grey.
        normalize: mean and std in units of 0 to 255; their first number where the source takes
            grey.
        source: what takes the result.
    """
    mean, std = _statistics(normalize, source)
    tensor = graph.op("Cast", pixels, to=TensorProto.FLOAT)
    if source.channels == 1:
        tensor = graph.op(
            "Round", graph.op("MatMul", tensor, graph.constant(_LUMA[:, None], np.float32))
        )
    if mean.any():
        tensor = graph.op("Sub", tensor, graph.constant(mean, np.float32))
    if (std != 1).any():
        tensor = graph.op("Mul", tensor, graph.constant(1 / std, np.float32))
    if source.layout == "NCHW":
        tensor = graph.op("Transpose", tensor, perm=[0, 3, 1, 2])
    if source.element_type != TensorProto.FLOAT:
        tensor = graph.op("Cast", tensor, to=source.element_type)
    return str(tensor)


def normalized_pixels(
    pixels: NDArray[np.uint8], normalize: Normalize, source: SourceInput
) -> Floats:
    """The same in numpy, bit for bit: uint8 [B, H, W, 3] -> float32 in the source's layout and
    channels.
    """
    mean, std = _statistics(normalize, source)
    values = pixels.astype(np.float32)
    if source.channels == 1:
        values = (values @ _LUMA[:, None]).round()
    values = (values - mean) * (1 / std)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if source.layout == "NCHW" else values)


def _statistics(normalize: Normalize, source: SourceInput) -> tuple[Floats, Floats]:
    """Mean and std of each channel, float32 [channels]."""
    mean, std = np.array(normalize.mean, np.float32), np.array(normalize.std, np.float32)
    return mean[: source.channels], std[: source.channels]
