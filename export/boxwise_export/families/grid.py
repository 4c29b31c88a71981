"""The cells of a detector's grids, and reading rows of boxes: what the one-stage families share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from boxwise_export.graphs.builder import GraphBuilder

# The levels of every one-stage family here; those with four are for canvases of 1280 (P6), or
# NanoDet-Plus.
STRIDES = ((8, 16, 32), (8, 16, 32, 64))


def cells(height: int, width: int, strides: Sequence[int]) -> NDArray[np.float32]:
    """[cells, 3]: x and y of each cell in its own grid, and its stride; grid by grid, row by row.

    A canvas that a stride does not divide has a cell for the rest, as a convolution with padding
    gives it.
    """
    levels = []
    for stride in strides:
        x, y = np.meshgrid(np.arange(-(-width // stride)), np.arange(-(-height // stride)))
        levels.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    grid: NDArray[np.float32] = np.concatenate(levels).astype(np.float32)
    return grid


def strides_of(rows: int, height: int, width: int, per_cell: int = 1) -> tuple[int, ...] | None:
    """The strides whose grids have so many rows together, or None."""
    counts = {per_cell * len(cells(height, width, strides)): strides for strides in STRIDES}
    return counts.get(rows)


def expected_rows(height: int, width: int, per_cell: int = 1) -> str:
    """How many rows there should be, as a person reads it: "3549 or 3598"."""
    return " or ".join(str(per_cell * len(cells(height, width, strides))) for strides in STRIDES)


def xyxy(graph: GraphBuilder, centre: str, sides: str) -> str:
    """Boxes [..., 4] from centres and sides, [..., 2] each."""
    half = graph.op("Mul", sides, graph.constant(0.5, np.float32))
    return str(
        graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=-1)
    )
