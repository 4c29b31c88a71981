"""YOLOX: one row a cell of three grids, with a box, an objectness and class scores.

Ge et al., "YOLOX: Exceeding YOLO Series in 2021" (arXiv:2107.08430) and the authors' `demo_postprocess`: rows are
ordered by stride 8, 16, 32, each grid row by row; x, y are offsets from the cell in strides, w, h logarithms of
strides. Objectness and class scores are after the sigmoid.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from boxwise_export.families.base import CanvasDefaults, Decoded, Family, Head, Mismatch, Reading, shapes
from boxwise_export.graph.builder import GraphBuilder

_STRIDES = (8, 16, 32)


def _read(head: Head) -> Reading | Mismatch:
    """[B, N, 5 + C], boxes still on the grid, of as many rows as the three grids have cells."""
    grid = _grid(head.height, head.width)
    need = (
        f"one output [batch, {len(grid)}, 5 + classes], the cells of strides 8, 16 and 32 of "
        f"{head.height} x {head.width}"
    )
    if len(head.outputs) != 1:
        return Mismatch(need)
    ((name, rows),) = head.outputs.items()
    if rows.ndim != 3:
        return Mismatch(need, 0.2)
    if rows.shape[1] != len(grid) or rows.shape[2] < 6:
        return Mismatch(need, 0.5 if rows.shape[2] >= 6 else 0.3)
    # On the grid, centres lie within a few cells of their own; decoded, they spread over the canvas.
    if np.abs(rows[..., :2]).max() > min(head.height, head.width) / 4:
        return Mismatch("boxes on the grid; these are decoded already", 0.9)
    classes = rows.shape[2] - 5

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Centre = (cell + offset) * stride, side = exp(log) * stride, score = objectness * class score."""
        tensor = tensors[name]
        cells, strides = graph.constant(grid[:, :2], np.float32), graph.constant(grid[:, 2:], np.float32)
        centre = graph.op("Mul", graph.op("Add", graph.slice_last(tensor, 0, 2), cells), strides)
        half = graph.op(
            "Mul", graph.op("Exp", graph.slice_last(tensor, 2, 4)), graph.constant(grid[:, 2:] / 2, np.float32)
        )
        boxes = graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=-1)
        scores = graph.op("Mul", graph.slice_last(tensor, 4, 5), graph.slice_last(tensor, 5, 5 + classes))
        return Decoded(boxes, scores, count=len(grid))

    why = f"{shapes(head.outputs)}: {len(grid)} cells of strides 8, 16 and 32, 5 + {classes} columns, boxes on the grid"
    return Reading(why, classes, decode)


FAMILY = Family("yolox", CanvasDefaults(resize="letterbox_top_left", color_order="bgr"), _read)


def _grid(height: int, width: int) -> NDArray[np.float32]:
    """[cells, 3]: x, y of each cell in its own grid, and its stride."""
    levels = []
    for stride in _STRIDES:
        x, y = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
        levels.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    grid: NDArray[np.float32] = np.concatenate(levels).astype(np.float32)
    return grid
