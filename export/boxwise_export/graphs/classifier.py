"""Build a classifier's graph: crops in, the best k labels out."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from boxwise_export.graphs.builder import GraphBuilder
from boxwise_export.graphs.normalize import normalized
from boxwise_export.graphs.source import SourceInput
from boxwise_export.pipeline import Normalize

_LEAST_LENGTH = 1e-12  # as torch.nn.functional.normalize has it


def build_classifier(
    model: onnx.ModelProto,
    source: SourceInput,
    output: str,
    *,
    height: int,
    width: int,
    normalize: Normalize,
    activation: Literal["softmax", "sigmoid", "none"],
    threshold: float | None,
    top_k: int,
    similarity: NDArray[np.float32] | None = None,
) -> onnx.ModelProto:
    """Write normalisation, activation and top-k around a source's graph.

    Args:
        model: the source.
        source: its input.
        output: the name of its logits, [B, C], or of its embedding, [B, D].
        height: of a crop, pixels.
        width: of a crop, pixels.
        normalize: what the source was trained on.
        activation: what makes scores of logits; `none` where the source does.
        threshold: labels that score less are -1 with score 0; None keeps all.
        top_k: how many labels leave.
        similarity: float32 [C, D], a unit vector for each label times the scale of the logits,
            where the output is an embedding.

    Returns:
        The graph `crops` uint8 [B, height, width, 3] -> `label_ids` int32 [B, k], `label_scores`
        float32 [B, k].
    """
    graph = GraphBuilder(model)
    logits = graph.run_source({source.name: normalized(graph, "crops", normalize, source)})[output]
    scores = graph.reshape(graph.op("Cast", logits, to=TensorProto.FLOAT), 0, -1)
    if similarity is not None:
        scores = _similarities(graph, scores, similarity)
    if activation == "softmax":
        scores = graph.op("Softmax", scores, axis=-1)
    elif activation == "sigmoid":
        scores = graph.op("Sigmoid", scores)
    label_scores, indices = graph.op("TopK", scores, graph.constant([top_k], np.int64), outputs=2)
    label_ids = graph.op("Cast", indices, to=TensorProto.INT32)
    if threshold is not None:
        below = graph.op("Less", label_scores, graph.constant(threshold, np.float32))
        label_ids = graph.op("Where", below, graph.constant(-1, np.int32), label_ids)
        label_scores = graph.op("Where", below, graph.constant(0, np.float32), label_scores)
    batch = "batch" if source.batch is None else source.batch
    return graph.finish(
        {"crops": (TensorProto.UINT8, (batch, height, width, 3))},
        {
            "label_ids": (label_ids, TensorProto.INT32, (batch, top_k)),
            "label_scores": (label_scores, TensorProto.FLOAT, (batch, top_k)),
        },
    )


def unit_vectors(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows [n, D] of length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _LEAST_LENGTH), np.float32)


def _similarities(graph: GraphBuilder, embedding: str, similarity: NDArray[np.float32]) -> str:
    """Embeddings [B, D] of length 1, with each of the vectors [C, D]: [B, C]."""
    last = graph.constant([-1], np.int64)
    squares = graph.op("ReduceSum", graph.op("Mul", embedding, embedding), last, keepdims=1)
    length = graph.op("Max", graph.op("Sqrt", squares), graph.constant(_LEAST_LENGTH, np.float32))
    return str(
        graph.op(
            "MatMul", graph.op("Div", embedding, length), graph.constant(similarity.T, np.float32)
        )
    )
