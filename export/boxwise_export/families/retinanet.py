"""RetinaNet: boxes as deltas to nine anchors a cell of a feature pyramid, each class by a sigmoid of its own.

Lin et al., "Focal Loss for Dense Object Detection" (arXiv:1708.02002). Level by level as its authors and Detectron2
give them, [B, 9 * C, h, w] and [B, 36, h, w]; or joined, as torchvision does, [B, N, C] and [B, N, 4].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
    found = _levels(head) or _joined(head, len(anchors))
    if found is None:
        some = sum(values.ndim == 4 for values in head.outputs.values()) == len(head.outputs) > 2
        return Mismatch(f"{_NEED}, for {len(anchors)} anchors", 0.5 if some else 0.2 * (head.anchors is not None))
    names, classes, gather = found
    if head.classes not in (None, classes):
        return Mismatch(f"{_NEED}; the graph gives {classes} classes, the labels are {head.classes}", 0.8)
    done = all(are_probabilities(head.outputs[name]) for name in names)

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Every anchor may be of several classes."""
        scores, deltas = gather(graph, tensors)
        if not done:
            scores = graph.op("Sigmoid", scores)
        boxes = decode_deltas(graph, deltas, anchors, (1.0, 1.0, 1.0, 1.0))
        return Decoded(graph.clip_boxes(boxes, head.height, head.width), scores, count=len(anchors))

    why = f"{shapes(head.outputs)}: deltas to {len(anchors)} anchors, {classes} classes without a background"
    return Reading(why, classes, decode)


FAMILY = Family("retinanet", IMAGENET_CANVAS, _read)

# The outputs of class scores, how many classes they are of, and what makes [B, N, C] and [B, N, 4] of all outputs.
_Found = tuple[Sequence[str], int, Callable[[GraphBuilder, Mapping[str, str]], tuple[str, str]]]


def _levels(head: Head) -> _Found | None:
    roles = pyramid_levels(head.outputs, head.height, head.width, [4 * _PER_CELL])
    if roles is None:
        return None
    scores, deltas = roles
    classes = head.outputs[scores[0]].shape[1] // _PER_CELL

    def gather(graph: GraphBuilder, tensors: Mapping[str, str]) -> tuple[str, str]:
        return joined_levels(graph, tensors, scores, classes), joined_levels(graph, tensors, deltas, 4)

    return scores, classes, gather


def _joined(head: Head, count: int) -> _Found | None:
    pair = find_pair(head.outputs, count)
    if pair is None:
        return None
    return [pair.scores], head.outputs[pair.scores].shape[2], lambda _, t: (t[pair.scores], t[pair.deltas])
