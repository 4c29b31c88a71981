"""YOLOv8, 9, 11 and 12: no anchors and no objectness; a column a cell, a row a coordinate or class.

Jocher et al., "Ultralytics YOLO" (ultralytics/ultralytics, `Detect._inference`): [B, 4 + C, N], cx,
cy, w, h in pixels of the canvas, then class scores after the sigmoid. Segmentation (`Segment`: 32
mask coefficients, and prototypes in a second output) and pose heads (`Pose`: keypoints in pixels)
have further rows behind the classes, which are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from boxwise_export.families.base import (
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
from boxwise_export.families.yolov5 import CANVAS
from boxwise_export.graphs.builder import GraphBuilder


def _read(head: Head) -> Result:
    """[B, 4 + C, N], of as many columns as the grids have cells; behind them rows of masks or
    keypoints.
    """
    need = (
        f"one output [batch, 4 + classes, {expected_rows(head.height, head.width)}], the cells of "
        f"strides 8, 16 and 32 of {head.height} x {head.width}"
    )
    found = split_masks(head)
    if found is None:
        return Mismatch(need)
    name, values, masks = found
    rows, count = values.shape[1:]
    if rows < 5:
        return Mismatch(need, 0.3)
    if strides_of(count, head.height, head.width) is None:
        return Mismatch(need, 0.5 if count > rows else 0.3)
    classes, left_out = rows - 4 - masks, masks_left_out(masks)
    if not masks and (points := _keypoints(head, values[0, 4:])):
        classes, left_out = rows - 4 - points, keypoints_left_out(points)
    if classes < 1 or not are_probabilities(values[:, 4 : 4 + classes]):
        oriented = are_probabilities(values[:, 4:-1]) and np.abs(values[:, -1]).max() < np.pi
        angle = (
            "; the last row could be the angle of oriented boxes (OBB), which are not served"
            if oriented
            else ""
        )
        return Mismatch(f"{need}, with class scores after the sigmoid{angle}", 0.8)

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """A row a cell; centres and sides are pixels already."""
        tensor = graph.op("Transpose", tensors[name], perm=[0, 2, 1])
        boxes = xyxy(graph, graph.slice_last(tensor, 0, 2), graph.slice_last(tensor, 2, 4))
        return Decoded(boxes, graph.slice_last(tensor, 4, 4 + classes), count=count)

    why = f"{shapes(head.outputs)}: 4 + {classes} rows for each of {count} cells"
    return Reading(why, classes, decode, assumed=left_out)


FAMILY = Family("yolov8", CANVAS, _read, multi_label=False)


def split_masks(head: Head) -> tuple[str, NDArray[np.float32], int] | None:
    """The output of boxes [1, a, b], and how many mask coefficients it holds; None where there is
    no such output.

    A segmentation head has a second output, the prototypes of masks [1, coefficients, h, w].
    """
    boxes = [(name, values) for name, values in head.outputs.items() if values.ndim == 3]
    prototypes = [values for values in head.outputs.values() if values.ndim == 4]
    if len(boxes) != 1 or len(prototypes) != len(head.outputs) - 1 or len(prototypes) > 1:
        return None
    return (*boxes[0], prototypes[0].shape[1] if prototypes else 0)


def masks_left_out(coefficients: int) -> tuple[str, ...]:
    """What is said of a segmentation head."""
    return (
        ("masks are left out: boxes, classes and scores alone are served",) if coefficients else ()
    )


def keypoints_left_out(rows: int) -> tuple[str, ...]:
    """What is said of a pose head of so many rows of keypoints."""
    return (
        f"keypoints ({rows} values a box) are left out: boxes, classes and scores alone are served",
    )


def _keypoints(head: Head, rows: NDArray[np.float32]) -> int:
    """How many of the rows [R, N] after the box are coordinates of keypoints: x, y, or x, y,
    visibility, in pixels.
    """
    scores = [are_probabilities(row) for row in rows]
    classes = scores.index(False) if False in scores else len(rows)
    points = len(rows) - (classes if head.classes is None else head.classes)
    visible = points % 3 == 0 and all(scores[-points + 2 :: 3])
    plausible = points > 1 and classes >= len(rows) - points and (visible or points % 2 == 0)
    return points if plausible and classes < len(rows) else 0
