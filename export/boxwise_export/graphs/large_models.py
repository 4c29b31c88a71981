"""Check and open large graphs with few copies of their weights.

Serialising a graph, parsing it and inferring its shapes each copy all weights.
"""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from boxwise_export.errors import GraphError
from boxwise_runtime.session import OnnxGraph

_LARGE = 1 << 16  # bytes; what shape inference reads (axes, shapes, pads) is far smaller
_PAGE = 1 << 12  # of memory: maps begin where one does
_WEIGHTS = "weights"
_LENGTH_DELIMITED = 2  # protobuf's wire type of bytes, strings and messages


def check_graph(model: onnx.ModelProto, *, shapes: bool = True) -> None:
    """Check a model, and all its shapes, with inputs in place of its large weights.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: it does not hold
            together.
    """
    onnx.checker.check_model(without_weights(model), full_check=shapes)


def checked(model: onnx.ModelProto, name: str = "the graph") -> onnx.ModelProto:
    """Return a model that we built or rewrote, once it and all its shapes are checked.

    Raises:
        GraphError: it does not hold together; the message calls it by `name`.
    """
    try:
        check_graph(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError(
            f"{name} does not hold together: {' '.join(str(error).split())}"
        ) from error
    return model


def open_graph(model: onnx.ModelProto) -> OnnxGraph:
    """A session of a graph, whose weights ONNX Runtime maps from a file instead of parsing and
    copying them.
    """
    light = _without_large(model)
    with tempfile.TemporaryDirectory(prefix="boxwise-") as folder:
        with Path(folder, _WEIGHTS).open("wb") as file:
            for tensor in filter(is_large, model.graph.initializer):
                file.seek(-(-file.tell() // _PAGE) * _PAGE)
                place = {
                    "location": _WEIGHTS,
                    "offset": str(file.tell()),
                    "length": str(len(tensor.raw_data)),
                }
                light.graph.initializer.add(
                    name=tensor.name,
                    dims=tensor.dims,
                    data_type=tensor.data_type,
                    data_location=onnx.TensorProto.EXTERNAL,
                    external_data=[
                        onnx.StringStringEntryProto(key=key, value=value)
                        for key, value in place.items()
                    ],
                )
                file.write(tensor.raw_data)
        graph = Path(folder, "model.onnx")
        graph.write_bytes(light.SerializeToString())
        return OnnxGraph(graph)  # the mapping outlives the file


def serialized(model: onnx.ModelProto) -> bytes:
    """The model as a file holds it: what SerializeToString gives, the large weights last.

    protobuf doubles its buffer while it writes, and then copies it: 3.5 times the model at once,
    where tensor by tensor it is 2.
    """
    light = _without_large(model)
    parts = [light.graph.SerializeToString()]
    for tensor in filter(is_large, model.graph.initializer):
        parts += _field(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, tensor.SerializeToString())
    light.ClearField("graph")
    size = sum(len(part) for part in parts)
    key = _varint(onnx.ModelProto.GRAPH_FIELD_NUMBER << 3 | _LENGTH_DELIMITED)
    return b"".join([light.SerializeToString(), key, _varint(size), *parts])


def give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps it, in pieces as large as one tensor."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # another C library
        return


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inputs, after its own, in place of its large weights."""
    light = _without_large(model)
    given = {each.name for each in model.graph.input}
    light.graph.input.extend(
        helper.make_tensor_value_info(each.name, each.data_type, each.dims)
        for each in filter(is_large, model.graph.initializer)
        if each.name not in given
    )
    return light


def _without_large(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with nothing in place of its large weights."""
    small = [each for each in model.graph.initializer if not is_large(each)]
    graph = onnx.GraphProto(**_fields(model.graph, but="initializer"), initializer=small)
    return onnx.ModelProto(**_fields(model, but="graph"), graph=graph)


def _fields(message: Any, but: str) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields() if field.name != but}


def _field(number: int, content: bytes) -> list[bytes]:
    """A field that holds a message, as protobuf writes it (protobuf.dev, "Encoding")."""
    return [_varint(number << 3 | _LENGTH_DELIMITED), _varint(len(content)), content]


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the highest bit set in all but the last."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def is_large(tensor: onnx.TensorProto) -> bool:
    """Return whether a tensor is a weight that should not be copied."""
    return len(tensor.raw_data) > _LARGE
