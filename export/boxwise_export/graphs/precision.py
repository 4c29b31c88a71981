"""Rewrite a network in fp16 or int8; our normalisation, decoding and top-k stay in fp32."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from boxwise_export.errors import GraphError
from boxwise_export.graphs.builder import SOURCE_PREFIX
from boxwise_export.graphs.large_models import checked

# Sums over many values, exponentials and their like, which leave fp16's 11 bits or its range of
# 65,504; the rest of the library's own list are operators that have no fp16 kernel.
_SENSITIVE = (
    "Exp",
    "Log",
    "Pow",
    "ReduceMean",
    "ReduceSum",
    "Softmax",
    "LayerNormalization",
    "InstanceNormalization",
)
# What int8 is fast at.
_PRODUCTS = ("Conv", "Gemm", "MatMul")


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a source's graph in fp16, before anything is written around it.

    (Afterwards the library would round every tensor of the decoding too, and a box beyond 256
    pixels to its quarters.)

    Args:
        model: a source; it is not changed.

    Returns:
        The same graph, with the same inputs and outputs in the same types.

    Raises:
        GraphError: the result is invalid.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    copied = _with_node_names(model)
    with warnings.catch_warnings():  # of constants below fp16's smallest number, which become it
        warnings.simplefilter("ignore")
        converted: onnx.ModelProto = convert_float_to_float16(
            copied,
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_SENSITIVE],
            node_block_list=[node.name for node in copied.graph.node if _is_depthwise(node)],
        )
    _sort(converted.graph)
    return checked(converted, "fp16: the graph")


def to_int8(model: onnx.ModelProto, pixels: Iterator[NDArray[np.uint8]]) -> onnx.ModelProto:
    """Rewrite the convolutions and matrix products of the source's network as Q/DQ int8.

    Weights by channel, activations by tensor, both symmetric, as TensorRT asks for. The first
    convolution and the depthwise ones stay: with them in int8, yolox_nano's scores are off by their
    own length, without by 0.4 of it, and by 0.25 with the outermost 0.001 % of values cut off the
    ranges.

    Args:
        model: from `build_detector` or `build_classifier`; it is left as it is.
        pixels: batches of its input, uint8 [B, H, W, 3]; the ranges are those seen on them.

    Raises:
        GraphError: the result does not hold together, or there is nothing to rewrite.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    named = _with_node_names(model)
    kept = [node.name for node in named.graph.node if not _is_source(node) or _is_depthwise(node)]
    kept += [node.name for node in named.graph.node if node.op_type == "Conv"][:1]
    if all(node.name in kept or node.op_type not in _PRODUCTS for node in named.graph.node):
        raise GraphError(
            "int8: the network has no convolution and no matrix product to rewrite, after its first"
        )
    with tempfile.TemporaryDirectory(prefix="boxwise-") as folder, _quiet():
        before, after = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        onnx.save(named, before)
        quantize_static(
            before,
            after,
            _Reader(model.graph.input[0].name, pixels),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_PRODUCTS),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "CalibPercentile": 99.999,
            },
        )
        quantized = onnx.load(after)
    return checked(quantized, "int8: the graph")


def _is_depthwise(node: onnx.NodeProto) -> bool:
    """Nine products to an output: their roundings do not average out, and they are a few percent of
    a network's work.

    In fp16, they cost yolox_nano 0.0025 of its mAP on 64 COCO photos; in fp32, the rest costs
    0.0005.
    """
    return node.op_type == "Conv" and any(
        each.name == "group" and each.i > 1 for each in node.attribute
    )


def _sort(graph: onnx.GraphProto) -> None:
    """Put every node after those that it needs; the library appends the casts that it makes."""
    made_by = {output: row for row, node in enumerate(graph.node) for output in node.output}
    needs = {
        row: [made_by[name] for name in node.input if name in made_by]
        for row, node in enumerate(graph.node)
    }
    ordered = [graph.node[row] for row in TopologicalSorter(needs).static_order()]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(nodes)


class _Reader:
    """Images as ONNX Runtime's calibration asks for them."""

    def __init__(self, name: str, pixels: Iterator[NDArray[np.uint8]]) -> None:
        self._name = name
        self._rows = (batch[row : row + 1] for batch in pixels for row in range(len(batch)))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """One image, None after the last."""
        row = next(self._rows, None)
        return None if row is None else {self._name: row}

    def set_range(self, *_: int) -> None:
        """Asked for by the base class; images come one by one anyway."""


@contextmanager
def _quiet() -> Iterator[None]:
    """The library logs advice to preprocess the model, which has been, and prints what it does."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _with_node_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes all have names, those of their first outputs where they had none."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for node in named.graph.node:
        node.name = node.name or next(filter(None, node.output))
    return named


def _is_source(node: onnx.NodeProto) -> bool:
    return node.name.startswith(SOURCE_PREFIX)
