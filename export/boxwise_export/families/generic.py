"""Any detector that gives its boxes decoded: the pipeline file says which output holds what (`tensors:`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from boxwise_export.families.base import CanvasDefaults, Decoded, Family, Head, Mismatch, Reading, shapes
from boxwise_export.families.grid import xyxy
from boxwise_export.graph.builder import GraphBuilder
from boxwise_export.pipeline import Tensors


def _read(head: Head) -> Reading | Mismatch:
    """Boxes [B, N, 4], scores [B, N, C] or [B, N], and, with the latter, classes [B, N]; or all of them without B."""
    said = head.tensors
    if said is None:
        return Mismatch("`tensors:`, which says which output is which")
    if unknown := [n for n in (said.boxes, said.scores, said.classes) if n is not None and n not in head.outputs]:
        return Mismatch(f"an output {unknown[0]!r}, which `tensors:` names", 0.5)
    boxes, scores = head.outputs[said.boxes], head.outputs[said.scores]
    batched = boxes.ndim == 3
    if boxes.ndim not in (2, 3) or boxes.shape[-1] != 4:
        return Mismatch(f"{said.boxes} of [batch, boxes, 4]", 0.7)
    ids = None if said.classes is None else head.outputs[said.classes]
    expected = boxes.shape[:-1]
    if scores.shape[: len(expected)] != expected or scores.ndim > len(expected) + 1:
        return Mismatch(f"{said.scores} of [batch, boxes] or [batch, boxes, classes], as {said.boxes} has boxes", 0.8)
    single = scores.ndim == len(expected) or scores.shape[-1] == 1
    if ids is not None and (not single or ids.size != np.prod(expected)):
        return Mismatch(f"{said.classes} and {said.scores} of [batch, boxes]", 0.8)
    classes = None if ids is not None else 1 if single else scores.shape[-1]
    count = boxes.shape[1] if batched else None

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Corners in pixels, whatever the format and the units."""
        # Without a batch, the one picture's boxes become a batch of one, as many as come.
        decoded = _corners(graph, graph.reshape(tensors[said.boxes], *((0, -1, 4) if batched else (1, -1, 4))), said)
        if said.units == "fraction":
            decoded = graph.op("Mul", decoded, graph.constant([head.width, head.height] * 2, np.float32))
        batch = 0 if batched else 1
        if ids is None and batched:
            return Decoded(decoded, graph.reshape(tensors[said.scores], 0, -1, classes or 1), count=count)
        score = graph.reshape(tensors[said.scores], batch, -1)
        if said.classes is not None:
            class_id = graph.op("Cast", graph.reshape(tensors[said.classes], batch, -1), to=TensorProto.INT32)
        else:
            zero = graph.op("Mul", score, graph.constant(0, np.float32))
            class_id = graph.op("Cast", zero, to=TensorProto.INT32)
        return Decoded(decoded, score, class_id, count=count)

    why = f"{shapes(head.outputs)}: `tensors:` says {said.boxes} holds boxes ({said.box_format}, {said.units})"
    if not batched and not single:
        return Mismatch("a batch dimension, where every box has a score for each class", 0.8)
    return Reading(why, classes, decode, nms=said.nms)


FAMILY = Family("generic", CanvasDefaults(resize="letterbox"), _read)


def _corners(graph: GraphBuilder, boxes: str, said: Tensors) -> str:
    first, second = graph.slice_last(boxes, 0, 2), graph.slice_last(boxes, 2, 4)
    match said.box_format:
        case "xyxy":
            return boxes
        case "yxyx":
            return str(graph.op("Gather", boxes, graph.constant([1, 0, 3, 2], np.int64), axis=-1))
        case "xywh":
            return str(graph.op("Concat", first, graph.op("Add", first, second), axis=-1))
        case "cxcywh":
            return xyxy(graph, first, second)
