"""YOLOv5 and YOLOv7: three anchors a cell, decoded in the graph, with an objectness and class
scores.

Jocher et al., "YOLOv5" (ultralytics/yolov5, `Detect.forward` and `non_max_suppression`) and Wang et
al., "YOLOv7" (arXiv:2207.02696), whose head is the same: rows are cx, cy, w, h in pixels of the
canvas, objectness, class scores, all after the sigmoid; a score is objectness * class score.
"""

from __future__ import annotations

from collections.abc import Mapping

from boxwise_export.families.base import (
    CanvasDefaults,
    Decoded,
    Family,
    Head,
    Mismatch,
    Reading,
    Result,
    are_probabilities,
    shapes,
)
from boxwise_export.families.grid import expected_rows, strides_of, xyxy
from boxwise_export.graphs.builder import GraphBuilder
from boxwise_export.pipeline import Normalize

_ANCHORS = 3
# (x - 0) / 255, and the grey of `letterbox` in the authors' datasets.py.
CANVAS = CanvasDefaults(resize="letterbox", normalize=Normalize(std=(255.0, 255.0, 255.0)))


def _read(head: Head) -> Result:
    """[B, N, 5 + C], of three rows a cell. Exports also give the maps of each level, [B, 3, h, w, 5
    + C], unused.
    """
    need = (
        f"one output [batch, {expected_rows(head.height, head.width, _ANCHORS)}, 5 + classes], "
        f"three anchors a cell of strides 8, 16 and 32 of {head.height} x {head.width}"
    )
    decoded = {name: values for name, values in head.outputs.items() if values.ndim == 3}
    if len(decoded) != 1 or any(
        values.ndim != 5 for name, values in head.outputs.items() if name not in decoded
    ):
        return Mismatch(need)
    ((name, rows),) = decoded.items()
    count, columns = rows.shape[1:]
    if columns < 6:
        return Mismatch(need, 0.2)
    if strides_of(count, head.height, head.width, _ANCHORS) is None:
        return Mismatch(need, 0.5)
    if not are_probabilities(rows[..., 4:]):
        return Mismatch(f"{need}, with objectness and class scores after the sigmoid", 0.8)
    classes = columns - 5

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Centres and sides are pixels already."""
        tensor = tensors[name]
        boxes = xyxy(graph, graph.slice_last(tensor, 0, 2), graph.slice_last(tensor, 2, 4))
        scores = graph.op(
            "Mul", graph.slice_last(tensor, 4, 5), graph.slice_last(tensor, 5, 5 + classes)
        )
        return Decoded(boxes, scores, count=count)

    why = (
        f"{shapes(head.outputs)}: three anchors for each of {count // _ANCHORS} cells, 5 + "
        f"{classes} columns"
    )
    return Reading(why, classes, decode)


FAMILY = Family("yolov5", CANVAS, _read, multi_label=False)
