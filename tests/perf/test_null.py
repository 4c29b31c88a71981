"""Null models have the inputs and outputs of the real ones, and answer constants."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from boxwise_perf.null import constant_graph
from boxwise_runtime.session import OnnxGraph


def signature(
    inputs: dict[str, tuple[int, list[int | str]]], outputs: dict[str, tuple[int, list[int | str]]]
) -> onnx.ModelProto:
    def infos(tensors: dict[str, tuple[int, list[int | str]]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, kind, shape)
            for name, (kind, shape) in tensors.items()
        ]

    return helper.make_model(helper.make_graph([], "signature", infos(inputs), infos(outputs)))


DETECTOR = signature(
    {"canvas": (TensorProto.UINT8, ["batch", 64, 96, 3])},
    {
        "candidate_boxes": (TensorProto.FLOAT, ["batch", 50, 4]),
        "candidate_scores": (TensorProto.FLOAT, ["batch", 50]),
        "candidate_classes": (TensorProto.INT32, ["batch", 50]),
    },
)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_detector_of_some_objects(batch: int) -> None:
    graph = OnnxGraph(constant_graph(DETECTOR, objects=4, class_id=7).SerializeToString())
    outputs = graph({"canvas": np.zeros((batch, 64, 96, 3), np.uint8)})
    assert outputs["candidate_boxes"].shape == (batch, 50, 4)
    assert (outputs["candidate_scores"] > 0.5).sum(axis=1).tolist() == [4] * batch
    assert (outputs["candidate_classes"] == 7).all()
    boxes = outputs["candidate_boxes"][0, :4]
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes <= [96, 64, 96, 64]).all()


def test_an_unknown_output_is_refused() -> None:
    model = signature(
        {"canvas": (TensorProto.UINT8, ["batch", 8, 8, 3])},
        {"masks": (TensorProto.FLOAT, ["batch", 2])},
    )
    with pytest.raises(ValueError, match="masks: is not an output of a detector or classifier"):
        constant_graph(model, objects=1, class_id=0)
