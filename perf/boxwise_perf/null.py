"""A repository whose models answer constants:
what is left is the cost of everything around them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from boxwise_export.repository.atomic_dir import write_file

OBJECTS = 5  # a COCO photo has 5.3 boxes that the demo's detector sees


def nullify(repository: Path, to: Path, *, objects: int = OBJECTS, class_id: int = 2) -> None:
    """Copy a repository, its graphs replaced by ones of the same inputs and outputs that answer
    constants.

    Args:
        repository: exported.
        to: where the copy goes; made.
        objects: how many boxes each image has.
        class_id: their class; by default COCO's car, which the demo's classifier is asked about.
    """
    shutil.copytree(repository, to)
    for path in to.rglob("model.onnx"):
        write_file(path, constant_graph(onnx.load(path), objects, class_id).SerializeToString())


def constant_graph(model: onnx.ModelProto, objects: int, class_id: int) -> onnx.ModelProto:
    """The graph that answers every image of a batch with the same rows."""
    (image,) = model.graph.input
    rows = {
        output.name: _row(output.name, _shape(output)[1:], _shape(image)[1:], objects, class_id)
        for output in model.graph.output
    }
    return answering(image, list(model.graph.output), rows)


def answering(
    image: onnx.ValueInfoProto,
    outputs: Sequence[onnx.ValueInfoProto],
    rows: Mapping[str, NDArray[np.generic]],
) -> onnx.ModelProto:
    """The graph that answers every image of a batch with these rows.

    Args:
        image: its input, the batch first.
        outputs: what it gives.
        rows: name of an output -> its values for one image, without the batch.
    """
    nodes = [
        helper.make_node("Shape", [image.name], ["batch_size"], start=0, end=1),
    ]
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
    """One image's answer: boxes of a fifth of its side along the diagonal,
    or the first k labels.
    """
    if name == "candidate_boxes":
        height, width = image[:2]
        start = np.linspace(0.25, 0.55, objects)
        boxes = np.zeros(shape, np.float32)
        boxes[:objects] = np.stack([start, start, start + 0.2, start + 0.2], axis=1) * [
            width,
            height,
            width,
            height,
        ]
        return boxes
    if name == "candidate_scores":
        return (np.arange(shape[0]) < objects).astype(np.float32) * np.float32(0.9)
    if name == "candidate_classes":
        return np.full(shape, class_id, np.int32)
    if name == "label_ids":
        return np.arange(shape[0], dtype=np.int32)
    if name == "label_scores":
        return np.full(shape, 0.1, np.float32)
    raise ValueError(f"{name}: not an output of a detector or a classifier of boxwise")
