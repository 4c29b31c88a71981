"""Tiny checkpoints that tests write themselves, so that every number in them is known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    constants: dict[str, np.ndarray],
    opset: int = 17,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., onnx.ModelProto]:
    """(nodes, inputs, outputs, constants) -> an ONNX model of float32 tensors."""
    return _model


@pytest.fixture(scope="session")
def mean_color() -> onnx.ModelProto:
    """A classifier of three classes, NCHW, of any batch and size: the mean of each channel is its
    logit.
    """
    return _model(
        [helper.make_node("ReduceMean", ["images"], ["logits"], axes=[2, 3], keepdims=0)],
        {"images": ["batch", 3, 8, 8]},
        {"logits": ["batch", 3]},
        {},
    )


@pytest.fixture(scope="session")
def rows() -> onnx.ModelProto:
    """A YOLOX-shaped detector of 64 x 64 and 2 classes, fixed to one image: its 84 cells hold a
    ramp.
    """
    ramp = np.linspace(-1, 1, 84 * 7, dtype=np.float32).reshape(1, 84, 7)
    ramp[..., 4:] = np.abs(ramp[..., 4:])
    return _model(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Reshape", ["nothing", "shape"], ["flat"]),
            helper.make_node("Add", ["flat", "ramp"], ["output"]),
        ],
        {"images": [1, 3, 64, 64]},
        {"output": [1, 84, 7]},
        {"zero": np.float32([0]), "shape": np.int64([1, 1, 1]), "ramp": ramp},
    )


@pytest.fixture
def write_pipeline(
    tmp_path: Path, rows: onnx.ModelProto, mean_color: onnx.ModelProto
) -> Callable[[str], Path]:
    """Write pipeline.yaml beside detector.onnx and classifier.onnx."""
    onnx.save(rows, tmp_path / "detector.onnx")
    onnx.save(mean_color, tmp_path / "classifier.onnx")

    def write(text: str) -> Path:
        file = tmp_path / "pipeline.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write
