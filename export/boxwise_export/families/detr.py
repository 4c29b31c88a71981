"""DETR and its kin (RT-DETR, D-FINE, RF-DETR, YOLOS): a fixed number of queries, each at most one
object, no NMS.

Carion et al., "End-to-End Object Detection with Transformers" (arXiv:2005.12872): boxes are cx, cy,
w, h in 0 to 1; classes by a softmax whose last is "no object", the best one being the query's. Zhao
et al., "DETRs Beat YOLOs on Real-time Object Detection" (arXiv:2304.08069) and those after
Deformable DETR (arXiv:2010.04159): a sigmoid for each class, the best (query, class) pairs being
the objects.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from boxwise_export.families.base import (
    IMAGENET,
    CanvasDefaults,
    Decoded,
    Family,
    Head,
    Mismatch,
    Question,
    Reading,
    Result,
    are_probabilities,
    shapes,
)
from boxwise_export.families.columns import Choice, read_columns
from boxwise_export.families.grid import xyxy
from boxwise_export.graphs.builder import GraphBuilder

_NEED = "logits [batch, queries, classes] and boxes [batch, queries, 4], cx, cy, w, h in 0 to 1"
# DETR; Deformable DETR and its kin; RF-DETR, whose columns are COCO ids.
_USUAL: tuple[Choice, ...] = (("softmax", "last"), ("sigmoid", "none"), ("sigmoid", "first"))
_BEYOND = 1.1  # of the image's side: no query's box reaches so far


def _read(head: Head) -> Result:
    """Logits and boxes of as many queries; what the columns mean is settled by `read_columns`."""
    if len(head.outputs) != 2 or any(values.ndim != 3 for values in head.outputs.values()):
        return Mismatch(_NEED)
    first, second = head.outputs
    names = [
        (boxes, logits)
        for boxes, logits in ((first, second), (second, first))
        if head.outputs[boxes].shape[2] == 4 and are_probabilities(head.outputs[boxes])
    ]
    if not names or head.outputs[first].shape[1] != head.outputs[second].shape[1]:
        return Mismatch(_NEED, 0.5)
    box_name, logit_name = names[0]
    if are_corners(head.outputs[box_name]):
        return Mismatch(
            f"{_NEED}; {box_name} holds corners, x1, y1, x2, y2: see family generic, with "
            "`tensors:`",
            0.8,
        )
    columns = read_columns(head, logit_name, head.outputs[logit_name], _USUAL)
    if isinstance(columns, Question):
        return columns
    count = head.outputs[logit_name].shape[1]

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """A query's best class where one excludes the others, or all its classes."""
        centred = graph.op(
            "Mul", tensors[box_name], graph.constant([head.width, head.height] * 2, np.float32)
        )
        boxes = xyxy(graph, graph.slice_last(centred, 0, 2), graph.slice_last(centred, 2, 4))
        scores = columns.scores(graph, tensors[logit_name])
        if not columns.exclusive:
            return Decoded(boxes, scores, count=count)
        best, class_ids = graph.best_class(scores)
        return Decoded(boxes, best, class_ids, count=count)

    why = f"{shapes(head.outputs)}: {count} queries, {columns.classes} classes by {columns.meaning}"
    return Reading(
        why, columns.classes, decode, nms=False, assumed=columns.assumed, unnamed=columns.unnamed
    )


def are_corners(boxes: NDArray[np.float32]) -> bool:
    """Whether boxes [1, N, 4] in 0 to 1 are x1, y1, x2, y2, and cannot be cx, cy, w, h.

    As corners, none is inside out; as centres and sides, some would reach far beyond the image.
    """
    first, second = boxes[0, :, :2], boxes[0, :, 2:]
    ordered = bool((second >= first).all())
    outside = (first + second / 2 > _BEYOND).any() or (first - second / 2 < 1 - _BEYOND).any()
    return ordered and bool(outside)


FAMILY = Family("detr", CanvasDefaults(resize="stretch", normalize=IMAGENET), _read, chooses=True)
