"""Networks in fp16 and int8: what is rewritten, what is left, and how near it stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest
from contract_support import heads
from onnx import TensorProto, helper

from boxwise_export.errors import GraphError
from boxwise_export.families import Head, find_family
from boxwise_export.graphs.builder import SOURCE_PREFIX
from boxwise_export.graphs.detector import build_detector
from boxwise_export.graphs.precision import to_fp16, to_int8
from boxwise_export.graphs.source import probe, read_input
from boxwise_export.pipeline import Normalize
from boxwise_runtime.session import OnnxGraph

CANVAS = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)


def wrapped(source: onnx.ModelProto) -> onnx.ModelProto:
    read = read_input(source)
    _, reading = find_family(None, Head(probe(source, read, 256, 256), 256, 256))
    unit = Normalize(std=(255.0, 255.0, 255.0))
    return build_detector(
        source, read, reading, height=256, width=256, normalize=unit, candidates=50
    )[0]


def scores(model: onnx.ModelProto) -> np.ndarray:
    return OnnxGraph(model.SerializeToString())({"canvas": CANVAS})["candidate_scores"]


def test_fp16_rewrites_the_network_and_keeps_its_types() -> None:
    source = heads.yolov8()
    before = source.SerializeToString()
    half = to_fp16(source)
    assert source.SerializeToString() == before
    assert TensorProto.FLOAT16 in {each.data_type for each in half.graph.initializer}
    for tensors in (half.graph.input, half.graph.output):
        assert {each.type.tensor_type.elem_type for each in tensors} == {TensorProto.FLOAT}
    np.testing.assert_allclose(scores(wrapped(half)), scores(wrapped(source)), atol=5e-3)
    assert not np.array_equal(scores(wrapped(half)), scores(wrapped(source)))


def test_fp16_leaves_what_loses_accuracy_in_fp32(
    make_model: Callable[..., onnx.ModelProto],
) -> None:
    """A depthwise convolution and a softmax, among what is rewritten."""
    nodes = [
        helper.make_node("Conv", ["x", "wide"], ["a"], name="wide"),
        helper.make_node("Conv", ["a", "deep"], ["b"], name="depthwise", group=4),
        helper.make_node("Softmax", ["b"], ["c"], name="softmax", axis=1),
        helper.make_node("Conv", ["c", "last"], ["y"], name="last"),
    ]
    random = np.random.default_rng(1)
    weights = {"wide": (4, 3, 1, 1), "deep": (4, 1, 1, 1), "last": (2, 4, 1, 1)}
    constants = {
        name: random.normal(size=shape).astype(np.float32) for name, shape in weights.items()
    }
    model = make_model(nodes, {"x": ["batch", 3, 8, 8]}, {"y": ["batch", 2, 8, 8]}, constants)
    half = onnx.shape_inference.infer_shapes(to_fp16(model), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in half.graph.value_info}
    watched = ("wide", "depthwise", "softmax")
    made = {
        node.name: types.get(node.output[0]) for node in half.graph.node if node.name in watched
    }
    assert made == {
        "wide": TensorProto.FLOAT16,
        "depthwise": TensorProto.FLOAT,
        "softmax": TensorProto.FLOAT,
    }


def batches() -> Iterator[np.ndarray]:
    yield CANVAS


def test_int8_rewrites_the_network_and_nothing_of_ours() -> None:
    exact = wrapped(heads.yolov8())
    small = to_int8(exact, batches())
    rounded = [node for node in small.graph.node if node.op_type == "DequantizeLinear"]
    assert rounded
    fed = {name for node in rounded for name in node.output}
    products = [node for node in small.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    users = [node for node in products if fed & set(node.input)]
    assert users
    assert all(node.name.startswith(SOURCE_PREFIX) for node in users)
    first = next(node for node in small.graph.node if node.op_type == "Conv")
    assert first not in users, "the first convolution stays"
    assert np.abs(scores(small) - scores(exact)).mean() < 0.05


def test_int8_of_nothing_to_rewrite_is_refused(mean_color: onnx.ModelProto) -> None:
    def crops() -> Iterator[np.ndarray]:
        yield np.zeros((1, 3, 8, 8), np.float32)

    with pytest.raises(GraphError, match="no convolution and no matrix product"):
        to_int8(mean_color, crops())
