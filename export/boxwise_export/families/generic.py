"""Any detector that gives its boxes decoded: the pipeline file says which output holds what
(`tensors:`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

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
from boxwise_export.families.columns import Choice, named_background, read_columns
from boxwise_export.families.grid import xyxy
from boxwise_export.graphs.builder import GraphBuilder
from boxwise_export.pipeline import BoxFormat, TensorNames

_USUAL: tuple[Choice, ...] = (
    ("softmax", "first"),
    ("softmax", "last"),
    ("softmax", "none"),
    ("sigmoid", "none"),
)


def _read(head: Head) -> Result:
    """Boxes and scores in outputs of their own, or in the columns of one."""
    said = head.tensors
    if said is None:
        return Mismatch("`tensors:`, which says which output is which")
    names = (said.boxes, said.scores, said.classes, said.rows)
    if unknown := [name for name in names if name is not None and name not in head.outputs]:
        return Mismatch(f"an output {unknown[0]!r}, which `tensors:` names", 0.5)
    return _read_rows(head, said) if said.rows is not None else _read_outputs(head, said)


FAMILY = Family("generic", CanvasDefaults(resize="letterbox"), _read, chooses=True)


def _read_outputs(head: Head, said: TensorNames) -> Result:
    """Boxes [B, N, 4], scores [B, N, C] or [B, N], and, with the latter, classes [B, N]; or all of
    them without B.
    """
    box_name, score_name = str(said.boxes), str(said.scores)
    boxes, scores = head.outputs[box_name], head.outputs[score_name]
    ids = None if said.classes is None else head.outputs[said.classes]
    if (mismatch := _unlike(said, boxes, scores, ids)) is not None:
        return mismatch
    batched = boxes.ndim == 3
    single = _single(boxes, scores)
    columns = read_columns(head, score_name, scores.reshape(-1, 1) if single else scores, _USUAL)
    if isinstance(columns, Question):
        return columns
    count = boxes.shape[1] if batched else None

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Corners in pixels, whatever the format and the units."""
        # Without a batch, the one image's boxes become a batch of one, as many as come.
        batch = 0 if batched else 1
        decoded = _corners(
            graph, graph.reshape(tensors[box_name], batch, -1, 4), said.box_format, said, head
        )
        if ids is None and batched:
            scores = columns.scores(graph, graph.reshape(tensors[score_name], 0, -1, columns.count))
            return Decoded(decoded, scores, count=count)
        score = columns.scores(graph, graph.reshape(tensors[score_name], batch, -1))
        return Decoded(
            decoded,
            score,
            _class_ids(graph, head, score, said.classes and tensors[said.classes]),
            count,
        )

    why = (
        f"{shapes(head.outputs)}: `tensors:` says {box_name} holds boxes ({said.box_format}, "
        f"{said.units})"
    )
    if ids is None:
        return Reading(why, columns.classes, decode, said.nms, columns.assumed, columns.unnamed)
    return _of_ids(head, Reading(why, None, decode, said.nms, columns.assumed))


def _single(boxes: NDArray[Any], scores: NDArray[Any]) -> bool:
    """Whether each box has one score, not one per class."""
    return bool(scores.ndim == boxes.ndim - 1 or scores.shape[-1] == 1)


def _unlike(
    said: TensorNames, boxes: NDArray[Any], scores: NDArray[Any], ids: NDArray[Any] | None
) -> Mismatch | None:
    """What is wrong with the shapes."""
    if boxes.ndim not in (2, 3) or boxes.shape[-1] != 4:
        return Mismatch(f"{said.boxes} of [batch, boxes, 4]", 0.7)
    expected = boxes.shape[:-1]
    if scores.shape[: len(expected)] != expected or scores.ndim > boxes.ndim:
        return Mismatch(
            f"{said.scores} of [batch, boxes] or [batch, boxes, classes], as {said.boxes} has "
            "boxes",
            0.8,
        )
    if _single(boxes, scores):
        wrong = ids is not None and ids.size != np.prod(expected)
    else:
        wrong = ids is not None
    if wrong:
        return Mismatch(f"{said.classes} and {said.scores} of [batch, boxes]", 0.8)
    if boxes.ndim == 2 and not _single(boxes, scores):
        return Mismatch("a batch dimension, where every box has a score for each class", 0.8)
    return None


def _read_rows(head: Head, said: TensorNames) -> Result:
    """A row a box, [B, N, columns] or, with or without the number of the image, [N, columns]."""
    name, words = str(said.rows), said.columns or []
    rows = head.outputs[name]
    if rows.shape[-1] != len(words):
        found = (
            f"{name} of [..., {len(words)}], as `tensors.columns` has so many names; it is "
            f"{list(rows.shape)}"
        )
        return Mismatch(found, 0.7)
    batched = rows.ndim == 3 and "batch" not in words
    scores = rows[..., words.index("score")]
    if rows.size and (scores.min() < 0 or scores.max() > 1):
        return Question(
            f"the column score of {name} goes from {scores.min():.3g} to "
            f"{scores.max():.3g}, and scores from 0 to 1",
            (("tensors.columns", "another order"),),
        )

    def decode(graph: GraphBuilder, tensors: Mapping[str, str]) -> Decoded:
        """Columns become tensors of their own."""
        table = graph.reshape(tensors[name], 0 if batched else 1, -1, len(words))

        def column(word: str) -> str:
            return graph.slice_last(table, words.index(word), words.index(word) + 1)

        boxes = graph.op("Concat", *map(column, said.box_columns), axis=-1)
        score = graph.reshape(column("score"), 0, -1)
        class_ids = _class_ids(graph, head, score, column("class") if "class" in words else None)
        count = rows.shape[1] if batched else None
        return Decoded(
            _corners(graph, boxes, said.column_format, said, head), score, class_ids, count
        )

    why = f"{shapes(head.outputs)}: `tensors:` says {name} has the columns {', '.join(words)}"
    return _of_ids(head, Reading(why, None if "class" in words else 1, decode, said.nms))


def _of_ids(head: Head, reading: Reading) -> Reading:
    """A reading whose classes are numbers: from 0, or from 1 where the background is the first."""
    if reading.classes is not None:
        return reading
    assumed = (
        ()
        if head.background
        else ("background: none, so class ids count from 0; `first` if they count from 1",)
    )
    named = head.background == "first" and named_background(head.names) == "first"
    return replace(
        reading, assumed=(*reading.assumed, *assumed), unnamed="first" if named else "none"
    )


def _class_ids(graph: GraphBuilder, head: Head, score: str, ids: str | None) -> str:
    """int32 [B, N] like the scores: the graph's own ids, or 0 where there is one class."""
    if ids is None:
        zeros = graph.op("Mul", score, graph.constant(0, np.float32))
        return str(graph.op("Cast", zeros, to=TensorProto.INT32))
    given = graph.op("Reshape", ids, graph.op("Shape", score))
    if head.background == "first":
        given = graph.op("Sub", given, graph.constant(1, np.float32))
    return str(graph.op("Cast", given, to=TensorProto.INT32))


def _corners(
    graph: GraphBuilder, boxes: str, box_format: BoxFormat, said: TensorNames, head: Head
) -> str:
    """Boxes [B, N, 4] of any format and units as xyxy in pixels of the canvas."""
    first, second = graph.slice_last(boxes, 0, 2), graph.slice_last(boxes, 2, 4)
    match box_format:
        case "yxyx":
            boxes = graph.op("Gather", boxes, graph.constant([1, 0, 3, 2], np.int64), axis=-1)
        case "xywh":
            boxes = graph.op("Concat", first, graph.op("Add", first, second), axis=-1)
        case "cxcywh":
            boxes = xyxy(graph, first, second)
    if said.units == "fraction":
        boxes = graph.op("Mul", boxes, graph.constant([head.width, head.height] * 2, np.float32))
    return boxes
