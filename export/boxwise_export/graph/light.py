"""Large graphs without as many copies of their weights: checking one, and opening one.

Serialising a graph, parsing it and inferring its shapes each take the memory of all weights again.
"""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path

import onnx
from onnx import helper

from boxwise_runtime.session import OnnxGraph

_LARGE = 1 << 16  # bytes; what shape inference reads (axes, shapes, pads) is far smaller
_PAGE = 1 << 12  # of memory: maps begin where one does
_WEIGHTS = "weights"


def check_graph(model: onnx.ModelProto, *, shapes: bool = True) -> None:
    """Check a model, and all its shapes, with inputs in place of its large weights.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: it does not hold together.
    """
    onnx.checker.check_model(_without_weights(model), full_check=shapes)


def open_graph(model: onnx.ModelProto) -> OnnxGraph:
    """A session of a graph, whose weights ONNX Runtime maps from a file instead of parsing and copying them."""
    light = _without_weights(model)
    with tempfile.TemporaryDirectory(prefix="boxwise-") as folder:
        del light.graph.input[len(model.graph.input) :]
        with Path(folder, _WEIGHTS).open("wb") as file:
            for tensor in filter(_is_large, model.graph.initializer):
                file.seek(-(-file.tell() // _PAGE) * _PAGE)
                place = {"location": _WEIGHTS, "offset": str(file.tell()), "length": str(len(tensor.raw_data))}
                light.graph.initializer.add(
                    name=tensor.name,
                    dims=tensor.dims,
                    data_type=tensor.data_type,
                    data_location=onnx.TensorProto.EXTERNAL,
                    external_data=[onnx.StringStringEntryProto(key=key, value=value) for key, value in place.items()],
                )
                file.write(tensor.raw_data)
        graph = Path(folder, "model.onnx")
        graph.write_bytes(light.SerializeToString())
        return OnnxGraph(graph)  # what is mapped stays, when its file is gone


def give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps it, in pieces as large as one tensor."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # another C library
        return


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = model.graph
    given = {each.name for each in graph.input}
    light = onnx.GraphProto(
        name=graph.name,
        node=graph.node,
        input=graph.input,
        output=graph.output,
        value_info=graph.value_info,
        initializer=[each for each in graph.initializer if not _is_large(each)],
        sparse_initializer=graph.sparse_initializer,
    )
    light.input.extend(
        helper.make_tensor_value_info(each.name, each.data_type, each.dims)
        for each in filter(_is_large, graph.initializer)
        if each.name not in given
    )
    return onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, graph=light, functions=model.functions
    )


def _is_large(tensor: onnx.TensorProto) -> bool:
    return len(tensor.raw_data) > _LARGE
