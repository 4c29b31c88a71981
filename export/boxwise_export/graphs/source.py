"""Find a source's input and outputs, by its graph and by running it once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from boxwise_export.errors import GraphError
from boxwise_export.graphs.large_models import open_graph

Layout = Literal["NCHW", "NHWC"]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SourceInput:
    """The one image that a graph takes.

    Attributes:
        name: of the tensor.
        layout: position of the channels.
        height: pixels; None for any.
        width: pixels; None for any.
        element_type: a TensorProto type.
        batch: None for any.
        channels: 3, or 1 for grey.
    """

    name: str
    layout: Layout
    height: int | None
    width: int | None
    element_type: int
    batch: int | None
    channels: int = 3

    def shape(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]:
        """The shape of a batch of images of this size."""
        if self.layout == "NCHW":
            return batch, self.channels, height, width
        return batch, height, width, self.channels

    @property
    def takes_integers(self) -> bool:
        """Whether it takes pixels of 0 to 255 as they are: uint8, and its kin."""
        return np.issubdtype(helper.tensor_dtype_to_np_dtype(self.element_type), np.integer)

    def as_input(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Values of any type as the graph's own; for a graph of integers rounded into 0 to 255."""
        if self.takes_integers:
            values = np.asarray(values).round().clip(0, 255)
        return values.astype(helper.tensor_dtype_to_np_dtype(self.element_type))


def read_input(model: onnx.ModelProto) -> SourceInput:
    """Find the graph's image input.

    Raises:
        GraphError: there is not exactly one input, or it has neither one channel nor three.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise GraphError(f"the graph takes {len(inputs)} inputs ({names}); expected one, the image")
    tensor_type = inputs[0].type.tensor_type
    # 0 where it is symbolic or unknown.
    shape = [dim.dim_value or None for dim in tensor_type.shape.dim]
    for channels in (3, 1):
        for layout, axis in (("NCHW", 1), ("NHWC", 3)):
            if len(shape) == 4 and shape[axis] == channels:
                height, width = (shape[2], shape[3]) if axis == 1 else (shape[1], shape[2])
                kind = tensor_type.elem_type
                return SourceInput(inputs[0].name, layout, height, width, kind, shape[0], channels)  # type: ignore[arg-type]
    found = " x ".join("?" if side is None else str(side) for side in shape)
    raise GraphError(
        f"input {inputs[0].name} is {found}; expected batch x 3 x height x width (1 for "
        "grey), or channels last"
    )


def probe(
    model: onnx.ModelProto,
    source: SourceInput,
    height: int,
    width: int,
    batch: int = 1,
    only: int | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Run the graph once on seeded noise of 0 to 255; every output by name, as float32.

    Args:
        model: the graph.
        source: its input.
        height: of the images, pixels.
        width: of the images, pixels.
        batch: how many different images.
        only: run this one of them, alone.

    Raises:
        GraphError: ONNX Runtime cannot load or run it; says why.
    """
    noise = np.random.default_rng(0).integers(0, 256, source.shape(batch, height, width))
    if only is not None:
        noise = noise[only : only + 1]
    (outputs,) = _run(model, source, [noise])
    return outputs


def probe_unlike(
    model: onnx.ModelProto, source: SourceInput, height: int, width: int, output: str
) -> Floats:
    """What one output gives for images that are unlike: noise of 0 to 255 and of -2 to 2, and a
    flat one of each.

    Returns:
        float32 [4, values], a row an image.

    Raises:
        GraphError: ONNX Runtime cannot load or run it; says why.
    """
    noise = np.random.default_rng(1).uniform(-2, 2, source.shape(1, height, width))
    images = [64 * noise + 128, noise, np.zeros_like(noise), np.full_like(noise, 200)]
    return np.stack([outputs[output].ravel() for outputs in _run(model, source, images)])


def _run(
    model: onnx.ModelProto, source: SourceInput, batches: Sequence[NDArray[np.generic]]
) -> Iterator[dict[str, Floats]]:
    """Every output of each batch by name, as float32."""
    try:
        graph = open_graph(model)
        for batch in batches:
            outputs: Mapping[str, NDArray[np.generic]] = graph(
                {source.name: source.as_input(batch)}
            )
            yield {name: np.asarray(value, np.float32) for name, value in outputs.items()}
    except Exception as error:
        sides = " x ".join(map(str, batches[0].shape))
        reason = " ".join(str(error).split())
        raise GraphError(
            f"ONNX Runtime cannot run the graph on an input of {sides}: {reason}"
        ) from error
