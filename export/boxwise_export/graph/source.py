"""What a source's graph takes and gives, found by looking and by running it once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from boxwise_export.errors import GraphError
from boxwise_export.graph.light import open_graph

Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True)
class SourceInput:
    """The one picture that a graph takes.

    Attributes:
        name: of the tensor.
        layout: where its three channels stand.
        height: pixels; None where any will do.
        width: pixels; None where any will do.
        element_type: a TensorProto type.
        batch: None where any will do.
    """

    name: str
    layout: Layout
    height: int | None
    width: int | None
    element_type: int
    batch: int | None

    def shape(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]:
        """The shape of a batch of pictures of this size."""
        return (batch, 3, height, width) if self.layout == "NCHW" else (batch, height, width, 3)


def read_input(model: onnx.ModelProto) -> SourceInput:
    """Find the graph's picture input.

    Raises:
        GraphError: there is not exactly one input, or it has no three channels.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise GraphError(f"the graph takes {len(inputs)} inputs ({names}); expected one, the picture")
    tensor_type = inputs[0].type.tensor_type
    shape = [dim.dim_value or None for dim in tensor_type.shape.dim]  # 0 where it is symbolic or unknown
    if len(shape) == 4 and shape[1] == 3:
        layout: Layout = "NCHW"
        height, width = shape[2], shape[3]
    elif len(shape) == 4 and shape[3] == 3:
        layout = "NHWC"
        height, width = shape[1], shape[2]
    else:
        found = " x ".join("?" if side is None else str(side) for side in shape)
        raise GraphError(f"input {inputs[0].name} is {found}; expected batch x 3 x height x width, or channels last")
    return SourceInput(inputs[0].name, layout, height, width, tensor_type.elem_type, shape[0])


def probe(
    model: onnx.ModelProto, source: SourceInput, height: int, width: int, batch: int = 1, only: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """Run the graph once on seeded noise of 0 to 255; every output by name, as float32.

    Args:
        model: the graph.
        source: its input.
        height: of the pictures, pixels.
        width: of the pictures, pixels.
        batch: how many different pictures.
        only: run this one of them, alone.

    Raises:
        GraphError: ONNX Runtime cannot load or run it; says why.
    """
    noise = np.random.default_rng(0).integers(0, 256, source.shape(batch, height, width))
    pictures = noise.astype(helper.tensor_dtype_to_np_dtype(source.element_type))
    if only is not None:
        pictures = pictures[only : only + 1]
    try:
        outputs: Mapping[str, NDArray[np.generic]] = open_graph(model)({source.name: pictures})
    except Exception as error:
        reason = " ".join(str(error).split())
        raise GraphError(f"ONNX Runtime cannot run the graph on a {height} x {width} picture: {reason}") from error
    return {name: np.asarray(value, np.float32) for name, value in outputs.items()}
