"""Graphs with large weights: opened with them, checked without them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from boxwise_export.errors import GraphError
from boxwise_export.graphs.large_models import check_graph, checked, open_graph, serialized
from boxwise_runtime.session import OnnxGraph

Make = Callable[..., onnx.ModelProto]
WEIGHTS = np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)  # 240 kB


def linear(make_model: Make, columns: int = 300) -> onnx.ModelProto:
    return make_model(
        [
            helper.make_node("MatMul", ["x", "large"], ["y"]),
            helper.make_node("Add", ["y", "small"], ["z"]),
        ],
        {"x": ["batch", 200]},
        {"z": ["batch", columns]},
        {"large": WEIGHTS, "small": np.ones(300, np.float32)},
    )


def test_a_session_has_the_weights_and_the_model_keeps_them(make_model: Make) -> None:
    model = linear(make_model)
    before = model.SerializeToString()
    x = np.random.default_rng(1).normal(size=(3, 200)).astype(np.float32)
    (opened,) = open_graph(model)({"x": x}).values()
    (expected,) = OnnxGraph(before)({"x": x}).values()
    np.testing.assert_array_equal(opened, expected)
    assert model.SerializeToString() == before


def test_weights_of_any_size_and_order_are_found_again(make_model: Make) -> None:
    """Each begins on a page of its own."""
    constants = {f"w{n}": np.full((200, n), n, np.float32) for n in (83, 300, 84, 1, 1000)}
    nodes = [helper.make_node("MatMul", ["x", name], [f"y{name}"]) for name in constants]
    model = make_model(
        nodes,
        {"x": ["batch", 200]},
        {f"y{n}": ["batch", w.shape[1]] for n, w in constants.items()},
        constants,
    )
    answers = open_graph(model)({"x": np.ones((1, 200), np.float32)})
    for name, values in constants.items():
        np.testing.assert_array_equal(answers[f"y{name}"], [[200 * values[0, 0]] * values.shape[1]])


def test_what_is_written_is_the_model(make_model: Make) -> None:
    """Read back, the same fields hold the same; the large weights stand last."""
    model = linear(make_model)
    model.metadata_props.add(key="author", value="ä")
    read = onnx.load_from_string(serialized(model))
    onnx.checker.check_model(read, full_check=True)
    assert [each.name for each in read.graph.initializer] == ["small", "large"]
    read.graph.initializer.sort(key=lambda each: each.name)
    assert read == model
    assert serialized(model) == serialized(read)


def test_what_does_not_hold_together_is_found_without_the_weights(make_model: Make) -> None:
    check_graph(linear(make_model))
    with pytest.raises(onnx.shape_inference.InferenceError):
        check_graph(linear(make_model, columns=301))
    broken = linear(make_model)
    broken.graph.node[0].input[1] = "nothing"
    with pytest.raises(onnx.checker.ValidationError):
        check_graph(broken, shapes=False)


def test_what_does_not_hold_together_is_named(make_model: Make) -> None:
    model = linear(make_model)
    assert checked(model) is model
    with pytest.raises(GraphError, match="fp16: the graph does not hold together: "):
        checked(linear(make_model, columns=301), "fp16: the graph")
