"""A graph exported for one picture is made to take several, and proven to."""

from __future__ import annotations

import copy

import numpy as np
import onnx
from onnx import numpy_helper

from boxwise_export.errors import GraphError
from boxwise_export.graph.source import SourceInput, probe

_PROOF_BATCH = 3


def with_dynamic_batch(model: onnx.ModelProto, source: SourceInput, height: int, width: int) -> onnx.ModelProto | None:
    """Give the graph a batch of any size, or None where it cannot have one.

    A fixed batch of 1 usually lives in the shapes of the inputs and outputs, and in constants that Reshape is given:
    those become "as many as came". That the result is right is not assumed: each of 3 different pictures run together
    must give what it gives alone.
    """
    changed = model if source.batch is None else _opened(model)
    try:
        together = probe(changed, source, height, width, _PROOF_BATCH)
        for row in range(_PROOF_BATCH):
            alone = probe(changed, source, height, width, _PROOF_BATCH, only=row)
            for name, outputs in together.items():
                if outputs.shape[0] != _PROOF_BATCH or not np.allclose(outputs[row], alone[name][0], 1e-3, 1e-4):
                    return None
    except GraphError:
        return None
    return changed


def _opened(model: onnx.ModelProto) -> onnx.ModelProto:
    model = copy.deepcopy(model)
    for tensor in [*model.graph.input, *model.graph.output]:
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for initializer in model.graph.initializer:
        if initializer.name in shapes:
            initializer.CopyFrom(_any_batch(initializer))
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            for attribute in node.attribute:
                if attribute.name == "value":
                    attribute.t.CopyFrom(_any_batch(attribute.t))
    return model


def _any_batch(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The shape [1, ...] as [as many as came, ...]: 0 copies the input's dimension."""
    shape = numpy_helper.to_array(tensor).copy()
    if shape.size > 1 and shape[0] == 1:
        shape[0] = 0
    return numpy_helper.from_array(shape, tensor.name)
