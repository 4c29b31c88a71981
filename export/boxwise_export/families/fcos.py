"""FCOS: a point a cell, its distances to the four sides, a class score by sigmoid and how central
the point is.

Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection" (arXiv:1904.01355); a score is
the root of class score * centerness, as in the authors' inference since their version 2 and in
torchvision. Distances are in strides.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from boxwise_export.families.base import (
    IMAGENET_CANVAS,
    Decoded,
    Family,
    Head,
    Mismatch,
    Question,
    Reading,
    Result,
    shapes,
)
from boxwise_export.families.columns import class_rows, read_columns
from boxwise_export.families.deltas import PYRAMID, joined_levels, pyramid_levels
from boxwise_export.families.faster_rcnn import read_finished
from boxwise_export.families.grid import cells
from boxwise_export.families.retinanet import USUAL
from boxwise_export.graphs.builder import GraphBuilder

_NEED = (
    "class scores, distances and centerness of strides 8 to 128, [batch, classes, h, w], [batch, "
    "4, h, w] and [batch, 1, h, w], or all levels joined, [batch, cells, classes], [batch, cells, "
    "4] and [batch, cells, 1]"
)


def _read(head: Head) -> Result:
    """Levels or joined; or boxes, scores and labels as torchvision's own model ends."""
    finished = read_finished(head, first_label=0)
    if finished:
        return finished
    roles = pyramid_levels(head.outputs, head.height, head.width, [4, 1])
    joined = None if roles else _joined(head)
    names = roles or joined
    if names is None:
        return Mismatch(_NEED, 0.4 if len(head.outputs) in (3, 3 * len(PYRAMID)) else 0.0)
    given = [head.outputs[name] for name in names[0]]
    values = np.concatenate([class_rows(each) for each in given]) if roles else given[0]
    columns = read_columns(head, names[0][0], values, USUAL)
    if isinstance(columns, Question):
        return columns
    points = _points(head)

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Box = point -+ distance * stride."""
        if roles:
            widths = (columns.count, 4, 1)
            scores, sides, central = (
                joined_levels(graph, tensors, n, c) for n, c in zip(roles, widths, strict=True)
            )
        else:
            scores, sides, central = (tensors[each] for (each,) in names)
        both = graph.op("Mul", columns.scores(graph, scores), graph.op("Sigmoid", central))
        signed = graph.op("Mul", sides, graph.constant(points[:, 2:] * [-1, -1, 1, 1], np.float32))
        boxes = graph.op("Add", signed, graph.constant(np.tile(points[:, :2], 2), np.float32))
        boxes = graph.clip_boxes(boxes, head.height, head.width)
        return Decoded(boxes, graph.op("Sqrt", both), count=len(points))

    classes = f"{columns.classes} classes by {columns.meaning}"
    why = (
        f"{shapes(head.outputs)}: {len(points)} cells of strides 8 to 128, {classes}, "
        "distances, centerness"
    )
    return Reading(why, columns.classes, decode, assumed=columns.assumed, unnamed=columns.unnamed)


FAMILY = Family("fcos", IMAGENET_CANVAS, _read, chooses=True)


def _points(head: Head) -> NDArray[np.float32]:
    """x, y in pixels and the stride of each cell, [N, 3]: its middle, or that of its anchor where
    there are anchors.
    """
    if head.anchors is None:
        grid = cells(head.height, head.width, PYRAMID)
        middle: NDArray[np.float32] = np.concatenate(
            [(grid[:, :2] + 0.5) * grid[:, 2:], grid[:, 2:]], axis=1
        )
        return middle
    sides = head.anchors[:, 2:] - head.anchors[:, :2]
    return np.concatenate([head.anchors[:, :2] + sides / 2, sides[:, :1]], axis=1)


def _joined(head: Head) -> list[list[str]] | None:
    """Class scores, distances and centerness, of all levels together."""
    count = len(_points(head))
    outputs = head.outputs
    if len(outputs) != 3 or any(v.ndim != 3 or v.shape[1] != count for v in outputs.values()):
        return None
    sides = [name for name, values in outputs.items() if values.shape[2] == 4]
    central = [name for name, values in outputs.items() if values.shape[2] == 1]
    rest = [name for name in outputs if name not in (*sides[:1], *central[:1])]
    return [rest, sides[:1], central[:1]] if sides and central and len(rest) == 1 else None
