"""Heads of distributions (GFL): class scores, and for each side of the box a distribution of its
distance.

Li et al., "Generalized Focal Loss" (arXiv:2006.04388): a cell of stride s gives, for left, top,
right and bottom, M + 1 logits; the distance is the mean of 0 to M under their softmax, times s,
from the cell's centre. NanoDet and PicoDet share this: their heads differ in where that centre is,
which no output shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from boxwise_export.families.base import (
    Decoded,
    Head,
    Mismatch,
    Outputs,
    Reading,
    are_probabilities,
    shapes,
)
from boxwise_export.families.grid import cells, strides_of
from boxwise_export.graphs.builder import GraphBuilder

_BINS = 8  # M + 1 of every published model: reg_max 7
_SIDES = 4 * _BINS
_NEED = (
    f"class scores [batch, cells, classes] and distributions [batch, cells, {_SIDES}] for each of "
    f"the strides 8, 16, 32, or both in one output [batch, cells, classes + {_SIDES}]"
)


@dataclass(frozen=True)
class DistributionHead:
    """A head of distributions, found among the outputs.

    Attributes:
        levels: (scores, distributions) of each level, largest grid first; of one joined output,
            that one twice.
        strides: of the grids.
        classes: how many there are.
    """

    levels: tuple[tuple[str, str], ...]
    strides: tuple[int, ...]
    classes: int

    @property
    def joined(self) -> bool:
        """Whether one output holds scores and distributions of all levels."""
        return self.levels[0][0] == self.levels[0][1]

    def read(self, head: Head, offset: float, kind: str, assumed: tuple[str, ...] = ()) -> Reading:
        """How it is read.

        Args:
            head: what it was found in.
            offset: of a cell's centre, in strides from its corner.
            kind: what it is called.
            assumed: what was concluded, as in `Reading`.
        """
        grid = cells(head.height, head.width, self.strides)
        centre = np.tile((grid[:, :2] + offset) * grid[:, 2:], 2)

        def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
            """Box = centre -+ stride * mean of the distribution."""
            if self.joined:
                tensor = tensors[self.levels[0][0]]
                scores = graph.slice_last(tensor, 0, self.classes)
                sides = graph.slice_last(tensor, self.classes, self.classes + _SIDES)
            else:
                scores = graph.op("Concat", *(tensors[name] for name, _ in self.levels), axis=1)
                sides = graph.op("Concat", *(tensors[name] for _, name in self.levels), axis=1)
            shares = graph.op("Softmax", graph.reshape(sides, 0, -1, 4, _BINS), axis=-1)
            mean = graph.op("MatMul", shares, graph.constant(np.arange(_BINS)[:, None], np.float32))
            signs = graph.constant(grid[:, 2:] * [-1, -1, 1, 1], np.float32)
            signed = graph.op("Mul", graph.reshape(mean, 0, -1, 4), signs)
            boxes = graph.op("Add", signed, graph.constant(centre, np.float32))
            return Decoded(
                graph.clip_boxes(boxes, head.height, head.width), scores, count=len(grid)
            )

        why = (
            f"{shapes(head.outputs)}: {len(grid)} cells of strides "
            f"{', '.join(map(str, self.strides))}"
        )
        why += f", {self.classes} classes, {_BINS} bins a side ({kind}: centres at x + {offset:g})"
        return Reading(why, self.classes, decode, assumed=assumed)


def find_distributions(head: Head) -> DistributionHead | Mismatch:
    """Scores after the sigmoid and distributions, level by level or joined."""
    levels = _levels(head.outputs)
    if levels is None:
        some = any(
            values.ndim == 3 and values.shape[2] == _SIDES for values in head.outputs.values()
        )
        return Mismatch(_NEED, 0.5 if some else 0.0)
    first = head.outputs[levels[0][0]]
    classes = first.shape[2] - (_SIDES if len(head.outputs) == 1 else 0)
    count = sum(head.outputs[scores].shape[1] for scores, _ in levels)
    strides = strides_of(count, head.height, head.width)
    if strides is None or len(levels) not in (1, len(strides)):
        met = 0.7 if len(levels) > 1 else 0.4
        return Mismatch(
            f"{_NEED}; {count} is not the number of cells of {head.height} x {head.width}", met
        )
    if not all(are_probabilities(head.outputs[name][..., :classes]) for name, _ in levels):
        return Mismatch(f"{_NEED}, class scores after the sigmoid", 0.8)
    if len(levels) == 1 and are_probabilities(first[..., -_SIDES:]):
        return Mismatch(f"{_NEED}, the distributions as logits", 0.6)
    return DistributionHead(tuple(levels), strides, classes)


def _levels(outputs: Outputs) -> list[tuple[str, str]] | None:
    """(scores, distributions) of each level, largest grid first; of a concatenated output, that one
    twice.
    """
    if any(values.ndim != 3 for values in outputs.values()):
        return None
    if len(outputs) == 1:
        ((name, values),) = outputs.items()
        return [(name, name)] if values.shape[2] > _SIDES else None
    distributions = [name for name, values in outputs.items() if values.shape[2] == _SIDES]
    scores = [name for name in outputs if name not in distributions]
    if len(scores) != len(distributions) or len({outputs[name].shape[2] for name in scores}) != 1:
        return None

    def cells(name: str) -> int:
        return int(outputs[name].shape[1])

    by_size = (sorted(names, key=cells, reverse=True) for names in (scores, distributions))
    levels = list(zip(*by_size, strict=True))
    return levels if all(cells(a) == cells(b) for a, b in levels) else None
