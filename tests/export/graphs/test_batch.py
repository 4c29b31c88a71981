"""A graph of one image is opened to several, or left alone where that would change an answer."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from boxwise_export.graphs.batch import with_dynamic_batch
from boxwise_export.graphs.source import probe, read_input


def test_a_batch_of_one_in_the_shapes_is_opened(rows: onnx.ModelProto) -> None:
    opened = with_dynamic_batch(rows, read_input(rows), 64, 64)
    assert not isinstance(opened, str)
    source = read_input(opened)
    assert source.batch is None
    assert probe(opened, source, 64, 64, batch=5)["output"].shape == (5, 84, 7)
    assert read_input(rows).batch == 1  # the model given is as it was


def test_a_graph_that_mixes_its_rows_is_left_alone(
    make_model: Callable[..., onnx.ModelProto],
) -> None:
    # The mean over the batch: right for one image, wrong for three.
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["images", "mean"], ["output"]),
    ]
    model = make_model(nodes, {"images": [1, 3, 4, 4]}, {"output": [1, 3, 4, 4]}, {})
    reason = with_dynamic_batch(model, read_input(model), 4, 4)
    assert reason == "output output of an image changes with the images beside it"


def test_sizes_of_a_resize_are_opened(make_model: Callable[..., onnx.ModelProto]) -> None:
    nodes = [
        helper.make_node("Relu", ["images"], ["x"]),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["output"], mode="linear"),
    ]
    model = make_model(
        nodes, {"images": [1, 3, 4, 4]}, {"output": [1, 3, 8, 6]}, {"sizes": np.int64([1, 3, 8, 6])}
    )
    opened = with_dynamic_batch(model, read_input(model), 4, 4)
    assert not isinstance(opened, str)
    assert probe(opened, read_input(opened), 4, 4, batch=5)["output"].shape == (5, 3, 8, 6)


def test_weights_among_the_inputs_keep_their_shape(
    make_model: Callable[..., onnx.ModelProto],
) -> None:
    nodes = [helper.make_node("Conv", ["images", "kernel"], ["output"])]
    kernel = np.ones((1, 3, 1, 1), np.float32)
    model = make_model(
        nodes, {"images": [1, 3, 4, 4]}, {"output": [1, 1, 4, 4]}, {"kernel": kernel}
    )
    model.graph.input.append(
        helper.make_tensor_value_info("kernel", onnx.TensorProto.FLOAT, kernel.shape)
    )
    opened = with_dynamic_batch(model, read_input(model), 4, 4)
    assert not isinstance(opened, str)
    batches = {
        each.name: each.type.tensor_type.shape.dim[0].dim_value for each in opened.graph.input
    }
    assert batches == {"images": 0, "kernel": 1}


@pytest.mark.parametrize("count", [0, 3])
def test_a_list_of_boxes_has_no_batch(
    make_model: Callable[..., onnx.ModelProto], count: int
) -> None:
    """Post-processed detectors give [n, 4], and n may be 0, or by chance the number of images."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "values"], ["boxes"]),
    ]
    constants = {"zero": np.float32(0), "values": np.zeros((count, 4), np.float32)}
    model = make_model(nodes, {"images": ["batch", 3, 4, 4]}, {"boxes": ["n", 4]}, constants)
    reason = with_dynamic_batch(model, read_input(model), 4, 4)
    assert reason == f"output boxes is [{count}, 4] for 3 images: it has no batch dimension"


def test_a_batch_hidden_in_a_flattened_shape_is_left_alone(
    make_model: Callable[..., onnx.ModelProto],
) -> None:
    nodes = [helper.make_node("Reshape", ["images", "shape"], ["output"])]
    model = make_model(nodes, {"images": [1, 3, 4, 4]}, {"output": [48]}, {"shape": np.int64([48])})
    reason = with_dynamic_batch(model, read_input(model), 4, 4)
    assert isinstance(reason, str)
    assert "ONNX Runtime cannot run the graph" in reason
