"""Faster R-CNN as torchvision gives it: boxes, labels and scores of one image, as many as there
are.

Ren et al., "Faster R-CNN" (arXiv:1506.01497); torchvision's `RoIHeads.postprocess_detections`:
label 0 is the background and is never given, so that the first class has label 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from boxwise_export.families.base import (
    IMAGENET_CANVAS,
    Decoded,
    Family,
    Head,
    Mismatch,
    Reading,
    Result,
    shapes,
)
from boxwise_export.families.columns import named_background
from boxwise_export.graphs.builder import GraphBuilder

_NEED = "boxes [objects, 4], labels [objects] and scores [objects], without a batch dimension"


def _read(head: Head) -> Result:
    """Labels count from 1."""
    flat = sum(values.ndim in (1, 2) for values in head.outputs.values()) / max(
        3, len(head.outputs)
    )
    return read_finished(head, first_label=1) or Mismatch(_NEED, 0.5 * flat)


def read_finished(head: Head, first_label: int) -> Reading | None:
    """What torchvision's detectors end with, or None: also where the labels show, or the settings
    say, another start.

    Args:
        head: what the graph gives.
        first_label: of the first class; torchvision's RetinaNet and FCOS count from 0.
    """
    boxes = [
        name for name, values in head.outputs.items() if values.ndim == 2 and values.shape[1] == 4
    ]
    flat = [name for name, values in head.outputs.items() if values.ndim == 1]
    if len(head.outputs) != 3 or len(boxes) != 1 or len(flat) != 2:
        return None
    labels, scores = _labels_and_scores(head, flat)
    start = {None: None, "first": 1, "none": 0, "last": 0}[head.background]
    if start is None and (head.outputs[labels] == 0).any():
        start = 0
    if start not in (None, first_label):
        return None

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """One image's rows become a batch of one."""
        ids = graph.op(
            "Sub", graph.reshape(tensors[labels], 1, -1), graph.constant(first_label, np.float32)
        )
        return Decoded(
            graph.reshape(tensors[boxes[0]], 1, -1, 4),
            graph.reshape(tensors[scores], 1, -1),
            graph.op("Cast", ids, to=TensorProto.INT32),
        )

    why = (
        f"{shapes(head.outputs)}: {boxes[0]}, {scores}, and {labels} that count from {first_label}"
    )
    named = named_background(head.names)
    return Reading(
        why, None, decode, unnamed="first" if first_label == 1 and named == "first" else "none"
    )


FAMILY = Family("faster_rcnn", IMAGENET_CANVAS, _read, chooses=True)


def _labels_and_scores(head: Head, names: list[str]) -> tuple[str, str]:
    """Labels are whole numbers; of no objects, or where both are, the names and torchvision's order
    must tell.
    """
    whole = [bool((head.outputs[name] == head.outputs[name].round()).all()) for name in names]
    first, second = names
    if whole[0] != whole[1]:
        return (first, second) if whole[0] else (second, first)
    return (second, first) if "label" in second or "class" in second else (first, second)
