"""Build a detector's graph: canvas in, the best K candidates out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from boxwise_export.families import Decoded, Reading
from boxwise_export.graphs.builder import OPSET, GraphBuilder
from boxwise_export.graphs.normalize import normalized
from boxwise_export.graphs.source import SourceInput
from boxwise_export.pipeline import Normalize


def build_detector(
    model: onnx.ModelProto,
    source: SourceInput,
    reading: Reading,
    *,
    height: int,
    width: int,
    normalize: Normalize,
    candidates: int,
    multi_label: bool = True,
) -> tuple[onnx.ModelProto, int]:
    """Write normalisation, decoding and top-K around a source's graph.

    Args:
        model: the source.
        source: its input.
        reading: how its outputs are read, from `find_family`.
        height: of the canvas, pixels.
        width: of the canvas, pixels.
        normalize: what the source was trained on.
        candidates: K, at most.
        multi_label: whether a box may be a candidate of several classes, or of its best one alone.

    Returns:
        The graph `canvas` uint8 [B, height, width, 3] -> `candidate_boxes` float32 [B, K, 4] (xyxy,
        canvas pixels), `candidate_scores` float32 [B, K] (best first), `candidate_classes` int32
        [B, K]; and K.
    """
    graph = GraphBuilder(model)
    tensors = graph.run_source({source.name: normalized(graph, "canvas", normalize, source)})
    tensors = {
        name: graph.op("Cast", tensor, to=TensorProto.FLOAT) for name, tensor in tensors.items()
    }
    batch = "batch" if source.batch is None else source.batch
    outputs, count = _candidates(graph, reading, tensors, candidates, batch, multi_label)
    return graph.finish({"canvas": (TensorProto.UINT8, (batch, height, width, 3))}, outputs), count


def build_decoder(
    reading: Reading, ranks: Mapping[str, int], candidates: int, multi_label: bool = True
) -> onnx.ModelProto:
    """The decoding alone: a source's outputs in, float32 and by their names, and `build_detector`'s
    candidates out.

    Args:
        reading: how they are read.
        ranks: of each of them, how many dimensions.
        candidates: K, at most.
        multi_label: as in `build_detector`.
    """
    shapes = {name: [f"{name}_{axis}" for axis in range(rank)] for name, rank in ranks.items()}
    given = {name: f"given_{name}" for name in ranks}
    source = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", [given[name]], [name]) for name in ranks],
            "raw",
            [
                helper.make_tensor_value_info(given[name], TensorProto.FLOAT, shapes[name])
                for name in ranks
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])
                for name in ranks
            ],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    graph = GraphBuilder(source)
    raw = graph.run_source({given[name]: name for name in ranks})
    decoded, _ = _candidates(graph, reading, raw, candidates, "batch", multi_label)
    return graph.finish(
        {name: (TensorProto.FLOAT, shape) for name, shape in shapes.items()}, decoded
    )


def _candidates(
    graph: GraphBuilder,
    reading: Reading,
    tensors: Mapping[str, str],
    candidates: int,
    batch: int | str,
    multi_label: bool,
) -> tuple[dict[str, tuple[str, int, tuple[int | str, ...]]], int]:
    """The three outputs, as `GraphBuilder.finish` takes them, and K."""
    decoded = reading.decode(graph, tensors)
    if decoded.class_ids is None and not multi_label and reading.classes != 1:
        score, class_ids = graph.best_class(decoded.scores)
        decoded = replace(decoded, scores=score, class_ids=class_ids)
    pairs = decoded.count and decoded.count * (1 if decoded.class_ids else reading.classes or 1)
    count = min(candidates, pairs or candidates)
    boxes, scores, classes = _best(graph, decoded, reading.classes, count)
    return {
        "candidate_boxes": (boxes, TensorProto.FLOAT, (batch, count, 4)),
        "candidate_scores": (scores, TensorProto.FLOAT, (batch, count)),
        "candidate_classes": (classes, TensorProto.INT32, (batch, count)),
    }, count


def _best(
    graph: GraphBuilder, decoded: Decoded, classes: int | None, count: int
) -> tuple[str, str, str]:
    """The best `count` of all boxes, or of all (box, class) pairs where a box has a score for each
    class.

    One search over all N x C values: finding the best cells first was measured to gain nothing,
    even over CenterNet's 1.3 million.
    """
    boxes, scores, class_ids = decoded.boxes, decoded.scores, decoded.class_ids
    k = graph.constant([count], np.int64)
    if class_ids is None:
        class_count = graph.constant(classes or 1, np.int64)
        best_scores, pairs = graph.op("TopK", graph.reshape(scores, 0, -1), k, outputs=2)
        best_classes = graph.op("Cast", graph.op("Mod", pairs, class_count), to=TensorProto.INT32)
        return (
            graph.gather_rows(boxes, graph.op("Div", pairs, class_count)),
            best_scores,
            best_classes,
        )
    # There may be fewer than K: boxes without area, which nothing keeps, fill up.
    if decoded.count is None:
        boxes = _padded(graph, boxes, [0, 0, 0, 0, count, 0])
        scores, class_ids = (
            _padded(graph, tensor, [0, 0, 0, count]) for tensor in (scores, class_ids)
        )
    best_scores, rows = graph.op("TopK", scores, k, outputs=2)
    return graph.gather_rows(boxes, rows), best_scores, graph.gather_rows(class_ids, rows)


def _padded(graph: GraphBuilder, tensor: str, pads: list[int]) -> str:
    return str(graph.op("Pad", tensor, graph.constant(pads, np.int64)))
