"""Make a graph that was exported for one image take several, and check that it does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from boxwise_export.errors import GraphError
from boxwise_export.graphs.source import SourceInput, probe

_PROOF_BATCH = 3


def with_dynamic_batch(
    model: onnx.ModelProto, source: SourceInput, height: int, width: int
) -> onnx.ModelProto | str:
    """Return the graph with a batch of any size, or why it cannot have one.

    A fixed batch of 1 is usually in the shapes of inputs and outputs, and in the constants of
    Reshape and Resize; those are replaced. The result is checked: each of 3 different images must
    give the same in a batch as alone, and as in the original graph.
    """
    try:
        changed = model if source.batch is None else _opened(model, source.name)
        together = probe(changed, source, height, width, _PROOF_BATCH)
        for row in range(_PROOF_BATCH):
            alone = probe(model, source, height, width, _PROOF_BATCH, only=row)
            if reason := _difference(together, alone, row):
                return reason
    except GraphError as error:
        return str(error)
    return changed


def _difference(
    together: Mapping[str, NDArray[np.float32]], alone: Mapping[str, NDArray[np.float32]], row: int
) -> str | None:
    """Return what differs between an image in a batch and alone."""
    for name, outputs in together.items():
        if outputs.ndim == 0 or len(outputs) != _PROOF_BATCH or len(alone[name]) != 1:
            return (
                f"output {name} is {list(outputs.shape)} for {_PROOF_BATCH} images: it has no "
                "batch dimension"
            )
        if not np.allclose(outputs[row], alone[name][0], 1e-3, 1e-4):
            return f"output {name} of an image changes with the images beside it"
    return None


def _opened(model: onnx.ModelProto, image: str) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    # Older graphs list their weights among the inputs; those have no batch.
    for tensor in [
        *(each for each in changed.graph.input if each.name == image),
        *changed.graph.output,
    ]:
        shape = tensor.type.tensor_type.shape
        if not shape.dim:
            raise GraphError(f"{tensor.name} has no dimensions, and so no batch")
        shape.dim[0].dim_param = "batch"
    del changed.graph.value_info[:]
    shapes = {node.input[1] for node in changed.graph.node if node.op_type == "Reshape"}
    for name, tensor in _constants(changed).items():
        if name in shapes:
            values = numpy_helper.to_array(tensor).copy()
            if values.size > 1 and values[0] == 1:
                values[0] = 0  # copies the input's dimension
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    _open_resizes(changed, model)
    return changed


def _open_resizes(changed: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Replace a Resize to sizes, which include the batch, by one with the equivalent scales."""
    resizes = [
        node for node in changed.graph.node if node.op_type == "Resize" and len(node.input) == 4
    ]
    if not resizes:
        return
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in inferred
    }
    constants = _constants(changed)
    for node in resizes:
        before, sizes = shapes.get(node.input[0], []), constants.get(node.input[3])
        if sizes is None or not all(before):
            continue
        scales = (numpy_helper.to_array(sizes) / np.array(before)).astype(np.float32)
        name = f"{node.output[0]}_scales"
        changed.graph.initializer.append(numpy_helper.from_array(scales, name))
        node.input[2] = name
        del node.input[3]


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return initializers and values of Constant nodes, by tensor name."""
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values.update(
                (node.output[0], each.t) for each in node.attribute if each.name == "value"
            )
    return values
