"""The nodes of a TFJS graph, and the ONNX graph that they are translated into.

Tensors of rank 4 are NHWC in TensorFlow and NCHW in the ONNX graph, the layout that convolutions
run in: one Transpose follows each input and precedes each output, and axes and constants are
remapped on the way. Tensors of any other rank are as TensorFlow has them.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from boxwise_export.errors import SourceError

TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)

Array = NDArray[Any]
Dim = int | str | None  # a size, a symbolic size ("batch"), or unknown


@dataclass(frozen=True)
class Node:
    """One node of the TFJS graph, with typed access to its attributes as protobuf writes them in
    JSON.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @classmethod
    def parse(cls, node: Mapping[str, Any]) -> "Node":
        """Read a node of the topology.

        Of an input "name:1" only the name is kept: ops with a second output have no translation,
        and are refused as such. "^name" is left out: a control input orders execution and carries
        no tensor.
        """
        inputs = tuple(
            name.split(":")[0] for name in node.get("input", []) if not name.startswith("^")
        )
        return cls(node["name"], node["op"], inputs, node.get("attr", {}))

    def flag(self, name: str) -> bool:
        """A boolean attribute, False where it is left out."""
        return bool(self.attributes.get(name, {}).get("b", False))

    def text(self, name: str, default: str = "") -> str:
        """A string attribute."""
        return (
            base64.b64decode(self.attributes[name]["s"]).decode()
            if name in self.attributes
            else default
        )

    def texts(self, name: str) -> list[str]:
        """A list of strings, empty where it is left out."""
        return [
            base64.b64decode(text).decode()
            for text in self.attributes.get(name, {}).get("list", {}).get("s", [])
        ]

    def spatial(self, name: str) -> list[int]:
        """Height and width of an attribute that has one number for each of N, H, W, C; 1 where it
        is left out.
        """
        if (layout := self.text("data_format", "NHWC")) != "NHWC":
            raise SourceError(
                f"{self.op} '{self.name}' works on {layout}; expected NHWC, as TFJS runs it"
            )
        return [
            int(size)
            for size in self.attributes.get(name, {}).get("list", {}).get("i", [1, 1, 1, 1])[1:3]
        ]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the ONNX graph, with its shape as TensorFlow sees it."""

    name: str
    shape: tuple[Dim, ...]

    def __post_init__(self) -> None:
        if len(self.shape) > 4:
            raise SourceError(f"'{self.name}' has rank {len(self.shape)}; expected at most 4")


@dataclass(frozen=True)
class Constant:
    """A weight, held back until a node says in which layout it needs it."""

    name: str
    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in TensorFlow."""
        return self.array.shape


@dataclass
class Graph:
    """The ONNX graph so far, and the value of every TFJS node that has been translated."""

    weights: Mapping[str, Array]
    values: dict[str, Tensor | Constant] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    inputs: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)
    outputs: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)

    def emit(
        self, op: str, inputs: Sequence[str], name: str, shape: Sequence[Dim], **attributes: Any
    ) -> Tensor:
        """Add an ONNX node that computes the TFJS node `name`, or a step towards it."""
        tensor = Tensor(f"{name}/nchw" if len(shape) == 4 else name, tuple(shape))
        self.nodes.append(helper.make_node(op, inputs, [tensor.name], tensor.name, **attributes))
        return tensor

    def initializer(self, name: str, array: Array) -> str:
        """Add a constant unless it is there, and return its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def array(self, node: Node, index: int) -> Array:
        """The values of a constant input."""
        value = self.values[node.inputs[index]]
        if isinstance(value, Tensor):
            raise SourceError(
                f"{node.op} '{node.name}' takes '{node.inputs[index]}' from a computation; "
                "expected a constant. Freeze the graph with a fixed input size"
            )
        return value.array

    def tensor(self, node: Node, index: int, rank: int = 0) -> Tensor:
        """An input as an ONNX tensor; a constant is laid out to broadcast against a tensor of this
        rank.
        """
        value = self.values[node.inputs[index]]
        if isinstance(value, Tensor):
            return value
        array = value.array
        if array.ndim == 0 or max(rank, array.ndim) != 4:
            return Tensor(self.initializer(value.name, array), array.shape)
        array = array.reshape((1,) * (4 - array.ndim) + array.shape)
        return Tensor(self.initializer(f"{value.name}/nchw", array.transpose(TO_NCHW)), array.shape)

    def input(self, name: str, shape: Sequence[Dim]) -> Tensor:
        """Declare a float32 input in TensorFlow's layout."""
        self.inputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        if len(shape) == 4:
            return self.emit("Transpose", [name], name, shape, perm=TO_NCHW)
        return Tensor(name, tuple(shape))

    def output(self, name: str) -> None:
        """Declare the value of the TFJS node `name` as an output in TensorFlow's layout."""
        value = self.values[name]
        if isinstance(value, Constant) or name in self.inputs:
            raise SourceError(
                f"'{name}' is an input or a constant; expected an output that the graph computes"
            )
        if self.in_tf_layout(value, name) != name:
            self.nodes.append(helper.make_node("Identity", [value.name], [name], name))
        self.outputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)

    def in_tf_layout(self, x: Tensor, name: str) -> str:
        """The name under which `x` is found in TensorFlow's layout: `name` where it has to be
        transposed for it.
        """
        if len(x.shape) != 4:
            return x.name
        self.nodes.append(helper.make_node("Transpose", [x.name], [name], name, perm=TO_NHWC))
        return name

    def build(self, name: str) -> onnx.GraphProto:
        """The finished graph."""
        initializers = list(self.initializers.values())
        return helper.make_graph(
            self.nodes, name, list(self.inputs.values()), list(self.outputs.values()), initializers
        )
