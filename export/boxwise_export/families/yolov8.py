"""YOLOv8, 9, 11 and 12: no anchors and no objectness; a column a cell, a row a coordinate or class.

Jocher et al., "Ultralytics YOLO" (ultralytics/ultralytics, `Detect._inference`): [B, 4 + C, N], cx, cy, w, h in pixels
of the canvas, then class scores after the sigmoid.
"""

from __future__ import annotations

from collections.abc import Mapping

from boxwise_export.families.base import Decoded, Family, Head, Mismatch, Reading, are_probabilities, shapes
from boxwise_export.families.grid import expected_rows, strides_of, xyxy
from boxwise_export.families.yolov5 import CANVAS
from boxwise_export.graph.builder import GraphBuilder


def _read(head: Head) -> Reading | Mismatch:
    """[B, 4 + C, N], of as many columns as the grids have cells."""
    need = (
        f"one output [batch, 4 + classes, {expected_rows(head.height, head.width)}], the cells of strides 8, 16 and 32 "
        f"of {head.height} x {head.width}"
    )
    if len(head.outputs) != 1:
        return Mismatch(need)
    ((name, values),) = head.outputs.items()
    if values.ndim != 3:
        return Mismatch(need, 0.2)
    rows, count = values.shape[1:]
    if rows < 5:
        return Mismatch(need, 0.3)
    if strides_of(count, head.height, head.width) is None:
        return Mismatch(need, 0.5 if count > rows else 0.3)
    if not are_probabilities(values[:, 4:]):
        return Mismatch(f"{need}, with class scores after the sigmoid", 0.8)
    classes = rows - 4

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """A row a cell; centres and sides are pixels already."""
        tensor = graph.op("Transpose", tensors[name], perm=[0, 2, 1])
        boxes = xyxy(graph, graph.slice_last(tensor, 0, 2), graph.slice_last(tensor, 2, 4))
        return Decoded(boxes, graph.slice_last(tensor, 4, 4 + classes), count=count)

    return Reading(f"{shapes(head.outputs)}: 4 + {classes} rows for each of {count} cells", classes, decode)


FAMILY = Family("yolov8", CANVAS, _read)
