"""DETR and its kin (RT-DETR, D-FINE, RF-DETR, YOLOS): a fixed number of queries, each at most one object, no NMS.

Carion et al., "End-to-End Object Detection with Transformers" (arXiv:2005.12872): boxes are cx, cy, w, h in 0 to 1;
classes by a softmax whose last is "no object", the best one being the query's. Zhao et al., "DETRs Beat YOLOs on
Real-time Object Detection" (arXiv:2304.08069) and those after Deformable DETR (arXiv:2010.04159): a sigmoid for each
class, the best (query, class) pairs being the objects.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from boxwise_export.families.base import (
    IMAGENET,
    CanvasDefaults,
    Decoded,
    Family,
    Head,
    Mismatch,
    Reading,
    are_probabilities,
    shapes,
)
from boxwise_export.families.grid import xyxy
from boxwise_export.graph.builder import GraphBuilder

_NEED = "logits [batch, queries, classes] and boxes [batch, queries, 4], cx, cy, w, h in 0 to 1"


def _read(head: Head) -> Reading | Mismatch:
    """Which of the two it is, the number of labels says: a softmax has one column more."""
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
    count, columns = head.outputs[logit_name].shape[1:]
    none_last = head.classes == columns - 1
    classes = columns - 1 if none_last else columns
    done = not none_last and are_probabilities(head.outputs[logit_name])

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """A query's best class, or all its classes."""
        centred = graph.op("Mul", tensors[box_name], graph.constant([head.width, head.height] * 2, np.float32))
        boxes = xyxy(graph, graph.slice_last(centred, 0, 2), graph.slice_last(centred, 2, 4))
        logits = tensors[logit_name]
        if not none_last:
            return Decoded(boxes, logits if done else graph.op("Sigmoid", logits), count=count)
        scores = graph.slice_last(graph.op("Softmax", logits, axis=-1), 0, classes)
        best, ids = graph.op("TopK", scores, graph.constant([1], np.int64), outputs=2)
        class_ids = graph.op("Cast", graph.reshape(ids, 0, -1), to=TensorProto.INT32)
        return Decoded(boxes, graph.reshape(best, 0, -1), class_ids, count=count)

    by = "a softmax whose last is no object" if none_last else "a sigmoid each"
    return Reading(f"{shapes(head.outputs)}: {count} queries, {classes} classes by {by}", classes, decode, nms=False)


FAMILY = Family("detr", CanvasDefaults(resize="stretch", normalize=IMAGENET), _read)
