"""SSD: boxes as deltas to anchors of many shapes, classes by a softmax that has one more for the
background.

Liu et al., "SSD: Single Shot MultiBox Detector" (arXiv:1512.02325); weights 10, 10, 5, 5 of the
deltas (the "variances" 0.1 and 0.2 of the authors' code) as in torchvision's SSD, SSDlite and every
MobileNet-SSD.
"""

from __future__ import annotations

from collections.abc import Mapping

from boxwise_export.families.base import (
    CanvasDefaults,
    Decoded,
    Family,
    Head,
    Mismatch,
    Question,
    Reading,
    Result,
    shapes,
)
from boxwise_export.families.columns import Choice, read_columns
from boxwise_export.families.deltas import decode_deltas, find_pair
from boxwise_export.graphs.builder import GraphBuilder
from boxwise_export.pipeline import Normalize

_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# The authors, TensorFlow and torchvision have the background first, MMDetection last.
_USUAL: tuple[Choice, ...] = (("softmax", "first"), ("softmax", "last"))


def _read(head: Head) -> Result:
    """Deltas [B, N, 4] and class scores [B, N, 1 + C], logits or after the softmax."""
    need = (
        "deltas [batch, anchors, 4] and class scores [batch, anchors, classes + 1], one of them "
        "the background"
    )
    if head.anchors is None:
        like = [
            values for values in head.outputs.values() if values.ndim == 3 and values.shape[2] == 4
        ]
        return Mismatch(
            f"{need}; and `anchors:`, a .npy file of [anchors, 4]", 0.4 if like else 0.0
        )
    anchors = head.anchors
    pair = find_pair(head.outputs, len(anchors))
    if pair is None:
        return Mismatch(f"{need}, for {len(anchors)} anchors", 0.5)
    columns = read_columns(head, pair.scores, head.outputs[pair.scores], _USUAL)
    if isinstance(columns, Question):
        return columns
    if head.classes not in (None, columns.classes, columns.count):
        return Mismatch(
            f"{need}; {pair.scores} has {columns.count} columns, the labels are {head.classes}", 0.8
        )

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """The background takes its share of the softmax, and is no class."""
        scores = columns.scores(graph, tensors[pair.scores])
        boxes = decode_deltas(graph, tensors[pair.deltas], anchors, _WEIGHTS)
        return Decoded(graph.clip_boxes(boxes, head.height, head.width), scores, count=len(anchors))

    why = (
        f"{shapes(head.outputs)}: deltas to {len(anchors)} anchors, {columns.classes} classes "
        f"by {columns.meaning}"
    )
    return Reading(why, columns.classes, decode, assumed=columns.assumed, unnamed=columns.unnamed)


FAMILY = Family(
    "ssd",
    CanvasDefaults(resize="stretch", normalize=Normalize(mean=(127.5,) * 3, std=(127.5,) * 3)),
    _read,
    chooses=True,
)
