"""RetinaNet: boxes as deltas to nine anchors a cell of a feature pyramid, each class by a sigmoid
of its own.

Lin et al., "Focal Loss for Dense Object Detection" (arXiv:1708.02002). Level by level as its
authors and Detectron2 give them, [B, 9 * C, h, w] and [B, 36, h, w]; or joined, as torchvision
does, [B, N, C] and [B, N, 4].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
from boxwise_export.families.columns import Choice, class_rows, read_columns
from boxwise_export.families.deltas import (
    decode_deltas,
    find_pair,
    joined_levels,
    pyramid_anchors,
    pyramid_levels,
)
from boxwise_export.families.faster_rcnn import read_finished
from boxwise_export.graphs.builder import GraphBuilder

_NEED = (
    "class scores [batch, 9 * classes, h, w] and deltas [batch, 36, h, w] of strides 8 to 128, or "
    "all levels joined, [batch, anchors, classes] and [batch, anchors, 4]"
)
_PER_CELL = 9
# The authors'; torchvision's and TensorFlow's, whose columns are COCO ids.
USUAL: tuple[Choice, ...] = (("sigmoid", "none"), ("sigmoid", "first"))


def _read(head: Head) -> Result:
    """Levels or joined, logits or after the sigmoid; or boxes, scores and labels as torchvision's
    own model ends.
    """
    finished = read_finished(head, first_label=0)
    if finished:
        return finished
    anchors = pyramid_anchors(head.height, head.width) if head.anchors is None else head.anchors
    found = _levels(head) or _joined(head, len(anchors))
    if found is None:
        some = sum(values.ndim == 4 for values in head.outputs.values()) == len(head.outputs) > 2
        return Mismatch(
            f"{_NEED}, for {len(anchors)} anchors",
            0.5 if some else 0.2 * (head.anchors is not None),
        )
    name, values, gather = found
    columns = read_columns(head, name, values, USUAL)
    if isinstance(columns, Question):
        return columns

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Every anchor may be of several classes."""
        scores, deltas = gather(graph, tensors)
        boxes = decode_deltas(graph, deltas, anchors, (1.0, 1.0, 1.0, 1.0))
        boxes = graph.clip_boxes(boxes, head.height, head.width)
        return Decoded(boxes, columns.scores(graph, scores), count=len(anchors))

    why = (
        f"{shapes(head.outputs)}: deltas to {len(anchors)} anchors, {columns.classes} classes "
        f"by {columns.meaning}"
    )
    return Reading(why, columns.classes, decode, assumed=columns.assumed, unnamed=columns.unnamed)


FAMILY = Family("retinanet", IMAGENET_CANVAS, _read, chooses=True)

# An output of class scores, its values as rows [..., C], and what makes [B, N, C] and [B, N, 4] of
# all outputs.
_Found = tuple[
    str, NDArray[np.float32], Callable[[GraphBuilder, Mapping[str, str]], tuple[str, str]]
]


def _levels(head: Head) -> _Found | None:
    roles = pyramid_levels(head.outputs, head.height, head.width, [4 * _PER_CELL])
    if roles is None:
        return None
    scores, deltas = roles
    values = np.concatenate([class_rows(head.outputs[name], _PER_CELL) for name in scores])

    def gather(graph: GraphBuilder, tensors: Mapping[str, str]) -> tuple[str, str]:
        return joined_levels(graph, tensors, scores, values.shape[1]), joined_levels(
            graph, tensors, deltas, 4
        )

    return scores[0], values, gather


def _joined(head: Head, count: int) -> _Found | None:
    pair = find_pair(head.outputs, count)
    if pair is None:
        return None
    return pair.scores, head.outputs[pair.scores], lambda _, t: (t[pair.scores], t[pair.deltas])
