"""Anchors, and the two tensors that a head on anchors gives: what SSD, RetinaNet and FCOS share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from boxwise_export.families.base import Outputs
from boxwise_export.families.grid import cells, xyxy
from boxwise_export.graphs.builder import GraphBuilder

# The feature pyramid of RetinaNet and FCOS, P3 to P7 (Lin et al., arXiv:1708.02002, section 4).
PYRAMID = (8, 16, 32, 64, 128)
# torchvision's BoxCoder and Detectron2's Box2BoxTransform let no side grow more than 1000 / 16
# times.
_MOST_GROWTH = math.log(1000 / 16)


class Pair(NamedTuple):
    """Names of the output of deltas [B, N, 4] and of that of class scores [B, N, C]."""

    deltas: str
    scores: str


def find_pair(outputs: Outputs, rows: int) -> Pair | None:
    """The two outputs of a head on `rows` anchors, or None."""
    if len(outputs) != 2 or any(
        values.ndim != 3 or values.shape[1] != rows for values in outputs.values()
    ):
        return None
    first, second = outputs
    for deltas, scores in ((first, second), (second, first)):
        if outputs[deltas].shape[2] == 4 and (outputs[scores].shape[2] != 4 or deltas == first):
            return Pair(deltas, scores)
    return None


def decode_deltas(
    graph: GraphBuilder, deltas: str, anchors: NDArray[np.float32], weights: Sequence[float]
) -> str:
    """Boxes [B, N, 4] from deltas to anchors; Ren et al., "Faster R-CNN" (arXiv:1506.01497),
    equation 2.

    Args:
        graph: to write into.
        deltas: tensor, float32 [B, N, 4]: dx, dy, dw, dh.
        anchors: float32 [N, 4], xyxy in canvas pixels.
        weights: what the four were multiplied by in training.
    """
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + sides / 2
    scaled = graph.op("Mul", deltas, graph.constant(1 / np.array(weights), np.float32))
    moves, logarithms = graph.slice_last(scaled, 0, 2), graph.slice_last(scaled, 2, 4)
    moved = graph.op("Mul", moves, graph.constant(sides, np.float32))
    grown = graph.op("Exp", graph.op("Min", logarithms, graph.constant(_MOST_GROWTH, np.float32)))
    centre = graph.op("Add", moved, graph.constant(centres, np.float32))
    return xyxy(graph, centre, graph.op("Mul", grown, graph.constant(sides, np.float32)))


def pyramid_levels(
    outputs: Outputs, height: int, width: int, columns: Sequence[int]
) -> list[list[str]] | None:
    """The outputs of a head that gives maps [B, channels, h, w] level by level, or None.

    Args:
        outputs: of the graph.
        height: of the canvas, pixels.
        width: of the canvas, pixels.
        columns: the channels of the maps of each role but the class scores, whose channels are any
            other number.

    Returns:
        The names of each role, class scores first, then as in `columns`; each from the largest map
        to the smallest.
    """
    sizes = [(-(-height // stride), -(-width // stride)) for stride in PYRAMID]
    if any(values.ndim != 4 for values in outputs.values()) or len(outputs) != len(PYRAMID) * (
        1 + len(columns)
    ):
        return None
    roles: list[list[str]] = []
    left = dict(outputs)
    for channels in columns:
        roles.append(
            [name for name, values in left.items() if values.shape[1] == channels][: len(PYRAMID)]
        )
        left = {name: values for name, values in left.items() if name not in roles[-1]}
    roles.insert(0, list(left))
    for names in roles:
        names.sort(key=lambda name: -outputs[name].shape[2] * outputs[name].shape[3])
        if [outputs[name].shape[2:] for name in names] != sizes or len(
            {outputs[n].shape[1] for n in names}
        ) != 1:
            return None
    return roles


def joined_levels(
    graph: GraphBuilder, tensors: Mapping[str, str], names: Sequence[str], columns: int
) -> str:
    """Maps [B, A * columns, h, w], level by level, as rows [B, N, columns]: cell by cell, its
    anchors in order.
    """
    rows = []
    for name in names:
        moved = graph.op("Transpose", tensors[name], perm=[0, 2, 3, 1])
        rows.append(graph.reshape(moved, 0, -1, columns))
    return str(graph.op("Concat", *rows, axis=1))


def pyramid_anchors(height: int, width: int) -> NDArray[np.float32]:
    """RetinaNet's nine anchors a cell, [N, 4] xyxy: three sizes from four strides up, each in three
    aspect ratios.

    Section 4 of the paper; in the order and with the whole pixels of torchvision's AnchorGenerator.
    """
    levels = []
    for stride in PYRAMID:
        size = 4 * stride
        sizes = np.array([size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))])
        tall = np.sqrt([0.5, 1.0, 2.0])
        widths, heights = ((1 / tall)[:, None] * sizes).ravel(), (tall[:, None] * sizes).ravel()
        around = np.round(np.stack([-widths, -heights, widths, heights], axis=1) / 2)
        corners = np.tile(cells(height, width, [stride])[:, None, :2] * stride, 2)
        levels.append((corners + around).reshape(-1, 4))
    anchors: NDArray[np.float32] = np.concatenate(levels).astype(np.float32)
    return anchors
