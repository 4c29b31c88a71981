"""A graph of one picture is opened to several, or left alone where that would change an answer."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from boxwise_export.graph.batch import with_dynamic_batch
from boxwise_export.graph.source import probe, read_input


def test_a_batch_of_one_in_the_shapes_is_opened(rows: onnx.ModelProto) -> None:
    opened = with_dynamic_batch(rows, read_input(rows), 64, 64)
    assert opened is not None
    source = read_input(opened)
    assert source.batch is None
    assert probe(opened, source, 64, 64, batch=5)["output"].shape == (5, 84, 7)
    assert read_input(rows).batch == 1  # the model given is as it was


def test_a_graph_that_mixes_its_rows_is_left_alone(make_model: Callable[..., onnx.ModelProto]) -> None:
    # The mean over the batch: right for one picture, wrong for three.
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["images", "mean"], ["output"]),
    ]
    model = make_model(nodes, {"images": [1, 3, 4, 4]}, {"output": [1, 3, 4, 4]}, {})
    assert with_dynamic_batch(model, read_input(model), 4, 4) is None


def test_a_batch_hidden_in_a_flattened_shape_is_left_alone(make_model: Callable[..., onnx.ModelProto]) -> None:
    nodes = [helper.make_node("Reshape", ["images", "shape"], ["output"])]
    model = make_model(nodes, {"images": [1, 3, 4, 4]}, {"output": [48]}, {"shape": np.int64([48])})
    assert with_dynamic_batch(model, read_input(model), 4, 4) is None
