"""NanoDet and NanoDet-Plus: class scores, and for each side of the box a distribution of its distance (GFL).

Li et al., "Generalized Focal Loss" (arXiv:2006.04388) and the authors' RangiLyu/nanodet (`NanoDetHead`,
`NanoDetPlusHead`, `distance2bbox`): a cell of stride s gives, for left, top, right and bottom, M + 1 logits; the
distance is the mean of 0 to M under their softmax, times s, from the cell's centre. The centre is (x + 0.5) s in
NanoDet and x s in NanoDet-Plus (`get_single_level_center_priors`). Class scores are after the sigmoid. Boxes are
clipped to the canvas before NMS.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from boxwise_export.families.base import (
    CanvasDefaults,
    Decoded,
    Family,
    Head,
    Mismatch,
    Outputs,
    Reading,
    are_probabilities,
    shapes,
)
from boxwise_export.families.grid import cells, strides_of
from boxwise_export.graph.builder import GraphBuilder
from boxwise_export.pipeline import Normalize

_BINS = 8  # M + 1 of every published model: reg_max 7
_SIDES = 4 * _BINS
_NEED = (
    f"class scores [batch, cells, classes] and distributions [batch, cells, {_SIDES}] for each of the strides "
    f"8, 16, 32, or both in one output [batch, cells, classes + {_SIDES}]"
)
# BGR with ImageNet's statistics, centred on black, as in the authors' nanodet-m (`keep_ratio: True`). Its mAP on 64
# COCO photos: 0.285 so, 0.270 stretched (the way of NanoDet-Plus, to be said in the pipeline file), 0.236 as RGB.
_CANVAS = CanvasDefaults(
    resize="letterbox",
    pad_value=0,
    color_order="bgr",
    normalize=Normalize(mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
)


def _read(head: Head) -> Reading | Mismatch:
    """Scores and distributions level by level, or concatenated."""
    levels = _levels(head.outputs)
    if levels is None:
        some = any(values.ndim == 3 and values.shape[2] == _SIDES for values in head.outputs.values())
        return Mismatch(_NEED, 0.5 if some else 0.0)
    first = head.outputs[levels[0][0]]
    classes = first.shape[2] - (_SIDES if len(head.outputs) == 1 else 0)
    count = sum(head.outputs[scores].shape[1] for scores, _ in levels)
    strides = strides_of(count, head.height, head.width)
    if strides is None or len(levels) not in (1, len(strides)):
        met = 0.7 if len(levels) > 1 else 0.4
        return Mismatch(f"{_NEED}; {count} is not the number of cells of {head.height} x {head.width}", met)
    if not all(are_probabilities(head.outputs[name][..., :classes]) for name, _ in levels):
        return Mismatch(f"{_NEED}, class scores after the sigmoid", 0.8)
    grid = cells(head.height, head.width, strides)
    plus = len(strides) == 4

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Box = centre -+ stride * mean of the distribution."""
        if len(head.outputs) == 1:
            (tensor,) = tensors.values()
            scores, sides = graph.slice_last(tensor, 0, classes), graph.slice_last(tensor, classes, classes + _SIDES)
        else:
            scores = graph.op("Concat", *(tensors[name] for name, _ in levels), axis=1)
            sides = graph.op("Concat", *(tensors[name] for _, name in levels), axis=1)
        shares = graph.op("Softmax", graph.reshape(sides, 0, -1, 4, _BINS), axis=-1)
        mean = graph.op("MatMul", shares, graph.constant(np.arange(_BINS)[:, None], np.float32))
        signed = graph.op(
            "Mul", graph.reshape(mean, 0, -1, 4), graph.constant(grid[:, 2:] * [-1, -1, 1, 1], np.float32)
        )
        centre = (grid[:, :2] + (0 if plus else 0.5)) * grid[:, 2:]
        boxes = graph.op("Add", signed, graph.constant(np.tile(centre, 2), np.float32))
        return Decoded(graph.clip_boxes(boxes, head.height, head.width), scores, count=count)

    why = f"{shapes(head.outputs)}: {count} cells of strides {', '.join(map(str, strides))}, {classes} classes"
    return Reading(f"{why}, {_BINS} bins a side{' (NanoDet-Plus)' if plus else ''}", classes, decode)


FAMILY = Family("nanodet", _CANVAS, _read)


def _levels(outputs: Outputs) -> list[tuple[str, str]] | None:
    """(scores, distributions) of each level, largest grid first; of a concatenated output, that one twice."""
    if any(values.ndim != 3 for values in outputs.values()):
        return None
    if len(outputs) == 1:
        ((name, values),) = outputs.items()
        return [(name, name)] if values.shape[2] > _SIDES else None
    distributions = [name for name, values in outputs.items() if values.shape[2] == _SIDES]
    scores = [name for name in outputs if name not in distributions]
    cells_of = {name: values.shape[1] for name, values in outputs.items()}
    levels = list(
        zip(sorted(scores, key=lambda n: -cells_of[n]), sorted(distributions, key=lambda n: -cells_of[n]), strict=False)
    )
    whole = len(scores) == len(distributions) and all(cells_of[a] == cells_of[b] for a, b in levels)
    same = len({outputs[name].shape[2] for name in scores}) == 1
    return levels if levels and whole and same else None
