"""SSD: boxes as deltas to anchors of many shapes, classes by a softmax that has one more for the background.

Liu et al., "SSD: Single Shot MultiBox Detector" (arXiv:1512.02325); weights 10, 10, 5, 5 of the deltas (the "variances"
0.1 and 0.2 of the authors' code) as in torchvision's SSD, SSDlite and every MobileNet-SSD.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from boxwise_export.families.base import CanvasDefaults, Decoded, Family, Head, Mismatch, Reading, shapes
from boxwise_export.families.deltas import decode_deltas, find_pair
from boxwise_export.graph.builder import GraphBuilder
from boxwise_export.pipeline import Normalize

_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def _read(head: Head) -> Reading | Mismatch:
    """Deltas [B, N, 4] and class scores [B, N, 1 + C], the background first, logits or after the softmax."""
    need = "deltas [batch, anchors, 4] and class scores [batch, anchors, 1 + classes], the background first"
    if head.anchors is None:
        like = [values for values in head.outputs.values() if values.ndim == 3 and values.shape[2] == 4]
        return Mismatch(f"{need}; and `anchors:`, a .npy file of [anchors, 4]", 0.4 if like else 0.0)
    anchors = head.anchors
    pair = find_pair(head.outputs, len(anchors))
    if pair is None:
        return Mismatch(f"{need}, for {len(anchors)} anchors", 0.5)
    classes = head.outputs[pair.scores].shape[2] - 1
    if classes < 1 or (head.classes is not None and head.classes != classes):
        return Mismatch(f"{need}; {pair.scores} has {classes + 1} columns, the labels are {head.classes}", 0.8)
    sums = head.outputs[pair.scores].sum(axis=-1)
    softmaxed = bool(np.allclose(sums, 1, atol=1e-3))

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """The background takes its share of the softmax, and is no class."""
        scores = tensors[pair.scores]
        if not softmaxed:
            scores = graph.op("Softmax", scores, axis=-1)
        boxes = decode_deltas(graph, tensors[pair.deltas], anchors, _WEIGHTS)
        boxes = graph.clip_boxes(boxes, head.height, head.width)
        return Decoded(boxes, graph.slice_last(scores, 1, 1 + classes), count=len(anchors))

    why = f"{shapes(head.outputs)}: deltas to {len(anchors)} anchors, {classes} classes and the background"
    return Reading(why, classes, decode)


FAMILY = Family(
    "ssd", CanvasDefaults(resize="stretch", normalize=Normalize(mean=(127.5,) * 3, std=(127.5,) * 3)), _read
)
