"""CenterNet: a heat map of object centres and a map of distances to the box's sides.

Zhou et al., "Objects as Points" (arXiv:1904.07850): a peak of the heat map is an object, its class
the channel. Here with four distances per cell (left, top, right, bottom, canvas pixels) as in
TTFNet (Liu et al., arXiv:1909.00700).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from boxwise_export.families.base import (
    CanvasDefaults,
    Decoded,
    Family,
    Head,
    Mismatch,
    Outputs,
    Reading,
    Result,
    shapes,
)
from boxwise_export.graphs.builder import GraphBuilder


def _read(head: Head) -> Result:
    """Heat map [B, h, w, C] after the sigmoid, distances [B, h, w, 4]; channels first or last."""
    maps = _maps(head.outputs)
    if maps is None:
        met = sum(values.ndim == 4 for values in head.outputs.values()) / max(2, len(head.outputs))
        return Mismatch(
            "two maps of one size, a heat map (C channels) and distances (4 channels)", met
        )
    heat_name, distance_name, channels_last = maps
    if (head.outputs[heat_name] < 0).any():
        return Mismatch("a heat map after the sigmoid, of values from 0 to 1", 0.8)
    shape = head.outputs[heat_name].shape
    rows, columns, classes = shape[1:] if channels_last else (*shape[2:], shape[1])

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """A cell (x, y) of stride s with distances d is the box (sx - d0, sy - d1, sx + d2, sy +
        d3).
        """
        heat, distances = tensors[heat_name], tensors[distance_name]
        if channels_last:
            heat = graph.op("Transpose", heat, perm=[0, 3, 1, 2])
        else:
            distances = graph.op("Transpose", distances, perm=[0, 2, 3, 1])
        highest = graph.op("MaxPool", heat, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
        peaks = graph.op(
            "Where", graph.op("Equal", heat, highest), heat, graph.constant(0, np.float32)
        )
        scores = graph.reshape(graph.op("Transpose", peaks, perm=[0, 2, 3, 1]), 0, -1, classes)

        x, y = np.meshgrid(
            np.arange(columns) * (head.width / columns), np.arange(rows) * (head.height / rows)
        )
        centres = np.stack([x, y, x, y], axis=-1).reshape(1, -1, 4)
        signed = graph.op(
            "Mul", graph.reshape(distances, 0, -1, 4), graph.constant([-1, -1, 1, 1], np.float32)
        )
        boxes = graph.op("Add", signed, graph.constant(centres, np.float32))
        return Decoded(boxes, scores, count=rows * columns)

    why = (
        f"{shapes(head.outputs)}: maps of {rows} x {columns}, {heat_name} a heat map of "
        f"{classes} classes"
    )
    # A large object may have two peaks more than a cell apart.
    return Reading(f"{why}, {distance_name} the distances to four sides", classes, decode, nms=True)


FAMILY = Family("centernet", CanvasDefaults(resize="letterbox"), _read)


def _maps(outputs: Outputs) -> tuple[str, str, bool] | None:
    """(heat map, distances, whether channels are last), or None."""
    if len(outputs) != 2 or any(values.ndim != 4 for values in outputs.values()):
        return None
    first, second = outputs
    for heat, distances in ((first, second), (second, first)):
        a, b = outputs[heat].shape, outputs[distances].shape
        if a[1:3] == b[1:3] and b[3] == 4:
            return heat, distances, True
        if a[2:4] == b[2:4] and b[1] == 4:
            return heat, distances, False
    return None
