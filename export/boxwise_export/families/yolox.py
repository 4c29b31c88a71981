"""YOLOX: one row a cell of three grids, with a box, an objectness and class scores.

Ge et al., "YOLOX: Exceeding YOLO Series in 2021" (arXiv:2107.08430) and the authors'
`demo_postprocess`: rows are ordered by stride 8, 16, 32, each grid row by row; x, y are offsets
from the cell in strides, w, h logarithms of strides. An export with `--decode_in_inference` has
done that: x, y, w, h are pixels. Objectness and class scores are after the sigmoid.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from boxwise_export.families.base import (
    CanvasDefaults,
    Decoded,
    Family,
    Head,
    Mismatch,
    Reading,
    Result,
    are_probabilities,
    shapes,
)
from boxwise_export.families.grid import cells, expected_rows, strides_of, xyxy
from boxwise_export.graphs.builder import GraphBuilder


def _read(head: Head) -> Result:
    """[B, N, 5 + C], of as many rows as the grids have cells."""
    need = (
        f"one output [batch, {expected_rows(head.height, head.width)}, 5 + classes], the cells of "
        f"strides 8, 16 and 32 of {head.height} x {head.width}"
    )
    if len(head.outputs) != 1:
        return Mismatch(need)
    ((name, rows),) = head.outputs.items()
    if rows.ndim != 3 or rows.shape[2] < 6:
        return Mismatch(need, 0.2)
    strides = strides_of(rows.shape[1], head.height, head.width)
    if strides is None:
        return Mismatch(need, 0.5)
    if not are_probabilities(rows[..., 4:]):
        return Mismatch(f"{need}, with objectness and class scores after the sigmoid", 0.8)
    grid = cells(head.height, head.width, strides)
    classes = rows.shape[2] - 5
    on_grid = _is_on_grid(rows[0, :, :4], grid)

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """On the grid: centre = (cell + offset) * stride, side = exp(log) * stride; score =
        objectness * class.
        """
        tensor = tensors[name]
        centre, sides = graph.slice_last(tensor, 0, 2), graph.slice_last(tensor, 2, 4)
        if on_grid:
            stride = graph.constant(grid[:, 2:], np.float32)
            centre = graph.op(
                "Mul", graph.op("Add", centre, graph.constant(grid[:, :2], np.float32)), stride
            )
            sides = graph.op("Mul", graph.op("Exp", sides), stride)
        scores = graph.op(
            "Mul", graph.slice_last(tensor, 4, 5), graph.slice_last(tensor, 5, 5 + classes)
        )
        return Decoded(xyxy(graph, centre, sides), scores, count=len(grid))

    where = "boxes on the grid" if on_grid else "boxes in pixels"
    why = (
        f"{shapes(head.outputs)}: {len(grid)} cells of strides {', '.join(map(str, strides))}, "
        f"5 + {classes} columns"
    )
    return Reading(f"{why}, {where}", classes, decode)


FAMILY = Family(
    "yolox",
    CanvasDefaults(resize="letterbox_top_left", color_order="bgr"),
    _read,
    multi_label=False,
)


def _is_on_grid(boxes: NDArray[np.float32], grid: NDArray[np.float32]) -> bool:
    """Whether x, y [N, 2] are offsets from the cell, in strides, and not pixels.

    In pixels, centres lie near those of their cells and so follow the grid over the canvas; offsets
    do not.
    """
    centres = (grid[:, :2] + 0.5) * grid[:, 2:]
    as_offsets = np.abs(boxes[:, :2]).mean()
    as_pixels = (np.abs(boxes[:, :2] - centres) / grid[:, 2:]).mean()
    return bool(as_offsets < as_pixels)
