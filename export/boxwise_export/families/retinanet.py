"""RetinaNet: boxes as deltas to nine anchors a cell of a feature pyramid, each class by a sigmoid of its own.

Lin et al., "Focal Loss for Dense Object Detection" (arXiv:1708.02002). Level by level as its authors and Detectron2
give them, [B, 9 * C, h, w] and [B, 36, h, w]; or joined, as torchvision does, [B, N, C] and [B, N, 4].
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
    Reading,
    are_probabilities,
    shapes,
)
from boxwise_export.families.deltas import (
    decode_deltas,
    find_pair,
    joined_levels,
    pyramid_anchors,
    pyramid_levels,
)
from boxwise_export.families.faster_rcnn import read_finished
from boxwise_export.graph.builder import GraphBuilder

_NEED = (
    "class scores [batch, 9 * classes, h, w] and deltas [batch, 36, h, w] of strides 8 to 128, or all levels joined, "
    "[batch, anchors, classes] and [batch, anchors, 4]"
)
_PER_CELL = 9


def _read(head: Head) -> Reading | Mismatch:
    """Levels or joined, logits or after the sigmoid; or boxes, scores and labels as torchvision's own model ends."""
    finished = read_finished(head, first_label=0)
    if finished:
        return finished
    anchors = pyramid_anchors(head.height, head.width) if head.anchors is None else head.anchors
    levels = pyramid_levels(head.outputs, head.height, head.width, [4 * _PER_CELL])
    pair = find_pair(head.outputs, len(anchors))
    if levels is None and pair is None:
        some = sum(values.ndim == 4 for values in head.outputs.values()) == len(head.outputs) > 2
        return Mismatch(f"{_NEED}, for {len(anchors)} anchors", 0.5 if some else 0.2 * (head.anchors is not None))
    names = levels[0] if levels else [pair.scores]  # type: ignore[union-attr]
    classes = head.outputs[names[0]].shape[1] // _PER_CELL if levels else head.outputs[names[0]].shape[2]
    done = all(are_probabilities(head.outputs[name]) for name in names)
    if head.classes not in (None, classes):
        return Mismatch(f"{_NEED}; the graph gives {classes} classes, the labels are {head.classes}", 0.8)

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Every anchor may be of several classes."""
        if levels:
            scores = joined_levels(graph, tensors, levels[0], classes)
            deltas = joined_levels(graph, tensors, levels[1], 4)
        else:
            scores, deltas = tensors[pair.scores], tensors[pair.deltas]  # type: ignore[union-attr]
        if not done:
            scores = graph.op("Sigmoid", scores)
        boxes = decode_deltas(graph, deltas, anchors, (1.0, 1.0, 1.0, 1.0))
        return Decoded(graph.clip_boxes(boxes, head.height, head.width), scores, count=len(anchors))

    return Reading(_why(head, anchors, classes), classes, decode)


def _why(head: Head, anchors: NDArray[np.float32], classes: int) -> str:
    return f"{shapes(head.outputs)}: deltas to {len(anchors)} anchors, {classes} classes without a background"


FAMILY = Family("retinanet", IMAGENET_CANVAS, _read)
