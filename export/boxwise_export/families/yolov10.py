"""YOLOv10 and YOLO26: end to end, the best boxes themselves, one an object.

Wang et al., "YOLOv10: Real-Time End-to-End Object Detection" (arXiv:2405.14458) and ultralytics'
`Detect.postprocess`: [B, N, 6], x1, y1, x2, y2 in pixels of the canvas, score, class.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from boxwise_export.families.base import Decoded, Family, Head, Mismatch, Reading, Result, shapes
from boxwise_export.families.yolov5 import CANVAS
from boxwise_export.families.yolov8 import keypoints_left_out, masks_left_out, split_masks
from boxwise_export.graphs.builder import GraphBuilder


def _read(head: Head) -> Result:
    """[B, N, 6], whose last column are whole numbers, best score first; behind them columns of
    masks or keypoints.
    """
    need = "one output [batch, boxes, 6]: x1, y1, x2, y2, score, class, best score first"
    found = split_masks(head)
    if found is None:
        return Mismatch(need)
    name, rows, masks = found
    more = rows.shape[2] - 6
    if more < 0 or (more != masks and head.task != "pose"):
        return Mismatch(need, 0.2)
    scores, classes = rows[0, :, 4], rows[0, :, 5]
    whole = (classes == classes.round()).all() and (classes >= 0).all()
    if not whole or (np.diff(scores) > 1e-6).any() or scores.min() < 0 or scores.max() > 1:
        return Mismatch(need, 0.6)
    count = rows.shape[1]

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Boxes, scores and classes stand in columns."""
        tensor = tensors[name]
        score, class_id = (graph.reshape(graph.slice_last(tensor, i, i + 1), 0, -1) for i in (4, 5))
        class_id = graph.op("Cast", class_id, to=TensorProto.INT32)
        return Decoded(graph.slice_last(tensor, 0, 4), score, class_id, count=count)

    why = f"{shapes(head.outputs)}: {count} boxes with score and class, best first"
    left_out = masks_left_out(masks) if masks or not more else keypoints_left_out(more)
    return Reading(why, None, decode, nms=False, assumed=left_out)


FAMILY = Family("yolov10", CANVAS, _read)
