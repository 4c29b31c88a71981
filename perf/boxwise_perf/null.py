"""A repository whose networks return constants: only the cost of everything else is left."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from boxwise_export.repository.atomic_dir import write_file

OBJECTS = 5  # the demo's detector finds 5.3 per COCO photo


def nullify(repository: Path, to: Path, *, objects: int = OBJECTS, class_id: int = 2) -> None:
    """Copy a repository, and replace its graphs by ones that return constants of the same shapes.

    Args:
        repository: as `boxwise export` wrote it.
        to: the folder of the copy; created.
        objects: number of boxes in each image.
        class_id: their class; default: COCO's car, on which the demo's classifier runs.
    """
    shutil.copytree(repository, to)
    for path in to.rglob("model.onnx"):
        write_file(path, constant_graph(onnx.load(path), objects, class_id).SerializeToString())


def constant_graph(model: onnx.ModelProto, objects: int, class_id: int) -> onnx.ModelProto:
    """Return a graph with the model's inputs and outputs that detects the same in every image."""
    (image,) = model.graph.input
    rows = {
        output.name: _row(output.name, _shape(output)[1:], _shape(image)[1:], objects, class_id)
        for output in model.graph.output
    }
    return constant_network(image, list(model.graph.output), rows)


def constant_network(
    image: onnx.ValueInfoProto,
    outputs: Sequence[onnx.ValueInfoProto],
    rows: Mapping[str, NDArray[np.generic]],
) -> onnx.ModelProto:
    """Return a graph that returns these rows for every image of a batch.

    Args:
        image: its input, batch dimension first.
        outputs: its outputs.
        rows: name of an output -> its values for one image, without the batch dimension.
    """
    nodes = [helper.make_node("Shape", [image.name], ["batch_size"], start=0, end=1)]
    initializers = []
    for output in outputs:
        row = rows[output.name]
        initializers += [
            numpy_helper.from_array(row[np.newaxis], f"{output.name}_row"),
            numpy_helper.from_array(np.array(row.shape, np.int64), f"{output.name}_dims"),
        ]
        nodes += [
            helper.make_node(
                "Concat", ["batch_size", f"{output.name}_dims"], [f"{output.name}_shape"], axis=0
            ),
            helper.make_node(
                "Expand", [f"{output.name}_row", f"{output.name}_shape"], [output.name]
            ),
        ]
    graph = helper.make_graph(nodes, "null", [image], list(outputs), initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _shape(tensor: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in tensor.type.tensor_type.shape.dim]


def _row(
    name: str, shape: Sequence[int], image: Sequence[int], objects: int, class_id: int
) -> NDArray[np.generic]:
    """Return an output for one image: boxes of a fifth of its sides along the diagonal, or the
    first k labels.
    """
    if name == "candidate_boxes":
        height, width = image[:2]
        start = np.linspace(0.25, 0.55, objects)
        corners = np.stack([start, start, start + 0.2, start + 0.2], axis=1)
        boxes = np.zeros(shape, np.float32)
        boxes[:objects] = corners * [width, height, width, height]
        return boxes
    if name == "candidate_scores":
        return (np.arange(shape[0]) < objects).astype(np.float32) * np.float32(0.9)
    if name == "candidate_classes":
        return np.full(shape, class_id, np.int32)
    if name == "label_ids":
        return np.arange(shape[0], dtype=np.int32)
    if name == "label_scores":
        return np.full(shape, 0.1, np.float32)
    raise ValueError(f"{name}: is not an output of a detector or classifier")
