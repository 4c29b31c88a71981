"""Write an ONNX graph node by node, around one that exists."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

from boxwise_export.errors import GraphError
from boxwise_export.graphs.large_models import checked, is_large, without_weights

# Axes are inputs of Squeeze and ReduceSum, and Softmax works on one axis, from 13 on. 17 is what we
# write ourselves, and what every runtime we serve with reads.
OLDEST_OPSET, OPSET = 13, 17
IR_VERSION = 8  # of the file format, that of opset 17
SOURCE_PREFIX = "source/"  # of all that was in the source's own graph


class GraphBuilder:
    """Nodes before and after a source's graph.

    Tensors are strings, the names that ONNX knows them by. The source's own names are prefixed, so
    that none of them meets one of ours.

    Args:
        source: the graph to build around.
    """

    def __init__(self, source: onnx.ModelProto) -> None:
        source = _modern(source)
        self._source = onnx.compose.add_prefix(without_weights(source), SOURCE_PREFIX)
        # Copied once, by `finish`.
        self._weights = [each for each in source.graph.initializer if is_large(each)]
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[TensorProto] = []
        self._numbers = count()

    def op(
        self, kind: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes: Any
    ) -> Any:
        """Add a node; returns its output's name, or their tuple where there are several."""
        stem = name or f"{kind.lower()}_{next(self._numbers)}"
        names = [stem] if outputs == 1 else [f"{stem}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=stem, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def constant(self, values: ArrayLike, dtype: DTypeLike) -> str:
        """Add an initializer."""
        name = f"constant_{next(self._numbers)}"
        self._initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def reshape(self, tensor: str, *shape: int) -> str:
        """Reshape; 0 keeps a dimension, -1 is what is left."""
        return str(self.op("Reshape", tensor, self.constant(shape, np.int64)))

    def slice_last(self, tensor: str, start: int, stop: int) -> str:
        """tensor[..., start:stop]."""
        bounds = (self.constant([value], np.int64) for value in (start, stop, -1))
        return str(self.op("Slice", tensor, *bounds))

    def gather_rows(self, rows: str, indices: str) -> str:
        """Rows [B, N, ...] at indices [B, M] -> [B, M, ...], batch by batch."""
        return str(self.op("GatherND", rows, self.reshape(indices, 0, -1, 1), batch_dims=1))

    def best_class(self, scores: str) -> tuple[str, str]:
        """The best of scores [B, N, C] in each row, float32 [B, N], and its class, int32 [B, N]."""
        ids = self.op("ArgMax", scores, axis=2, keepdims=1)  # half the time of a TopK of 1
        best = self.op("GatherElements", scores, ids, axis=2)
        class_ids = self.op("Cast", self.reshape(ids, 0, -1), to=TensorProto.INT32)
        return self.reshape(best, 0, -1), class_ids

    def clip_boxes(self, boxes: str, height: int, width: int) -> str:
        """Boxes [..., 4] xyxy, cut at the edges of the canvas."""
        low, high = self.constant(0, np.float32), self.constant([width, height] * 2, np.float32)
        return str(self.op("Min", self.op("Max", boxes, low), high))

    def run_source(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """Add the source's nodes, fed with tensors of ours; returns its outputs' names here, by
        their own names.
        """
        graph = self._source.graph
        for name, tensor in inputs.items():
            self.op("Identity", tensor, name=SOURCE_PREFIX + name)
        self._nodes.extend(graph.node)
        self._initializers.extend(graph.initializer)
        return {output.name.removeprefix(SOURCE_PREFIX): output.name for output in graph.output}

    def finish(
        self,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, tuple[str, int, Sequence[int | str]]],
    ) -> onnx.ModelProto:
        """Close the graph and check it.

        Args:
            inputs: name -> (TensorProto type, shape).
            outputs: public name -> (tensor, TensorProto type, shape).
        """
        for name, (tensor, _, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [tensor], [name], name=name))
        graph = helper.make_graph(
            self._nodes,
            "boxwise",
            [
                helper.make_tensor_value_info(name, kind, shape)
                for name, (kind, shape) in inputs.items()
            ],
            [
                helper.make_tensor_value_info(name, kind, shape)
                for name, (_, kind, shape) in outputs.items()
            ],
            self._initializers,
        )
        model = helper.make_model(
            graph,
            producer_name="boxwise",
            opset_imports=copy.deepcopy(self._source.opset_import),
            functions=self._source.functions,
            ir_version=max(self._source.ir_version, IR_VERSION),
        )
        for weight in self._weights:
            model.graph.initializer.add().CopyFrom(weight)
            model.graph.initializer[-1].name = SOURCE_PREFIX + weight.name
        return checked(model)


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version >= OLDEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:
        raise GraphError(
            f"the graph is of ONNX opset {version} and cannot be converted to {OPSET} ({error}); "
            f"export it again with opset {OLDEST_OPSET} or newer"
        ) from error
