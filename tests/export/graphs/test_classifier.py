"""Activation, threshold and top-k inside the graph."""

import numpy as np
import onnx
import pytest

from boxwise_export.graphs.classifier import build_classifier, unit_vectors
from boxwise_export.graphs.source import read_input
from boxwise_export.pipeline import Normalize
from boxwise_runtime.session import OnnxGraph

CROPS = np.stack([np.full((8, 8, 3), color, np.uint8) for color in ([10, 30, 20], [255, 0, 0])])
LOGITS = np.array([[0.10, 0.30, 0.20], [2.55, 0, 0]])


def answered(model: onnx.ModelProto, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    settings = {"activation": "softmax", "threshold": None, "top_k": 3} | changes
    graph = build_classifier(
        model,
        read_input(model),
        "logits",
        height=8,
        width=8,
        normalize=Normalize(std=(100, 100, 100)),
        **settings,
    )
    outputs = OnnxGraph(graph.SerializeToString())({"crops": CROPS})
    return outputs["label_ids"], outputs["label_scores"]


def test_softmax(mean_color: onnx.ModelProto) -> None:
    ids, scores = answered(mean_color)
    exponents = np.exp(LOGITS)
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    assert ids.dtype == np.int32
    assert ids[0].tolist() == [1, 2, 0]
    assert ids[1, 0] == 0
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1), rtol=1e-5)


def test_sigmoid_leaves_out_what_scores_less_than_its_threshold(
    mean_color: onnx.ModelProto,
) -> None:
    ids, scores = answered(mean_color, activation="sigmoid", threshold=0.53)
    expected = 1 / (1 + np.exp(-LOGITS))
    assert ids.tolist() == [[1, 2, -1], [0, -1, -1]]
    np.testing.assert_allclose(scores[0], [expected[0, 1], expected[0, 2], 0], rtol=1e-5)


@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
def test_prototypes_are_compared_by_their_direction(
    mean_color: onnx.ModelProto, activation: str
) -> None:
    """Two labels of any length, one along each of two embeddings; written out as the formula of the
    cosine.
    """
    prototypes = np.float32([[1, 3, 2], [40, 0, 0], [0, 0, 0.1], [-1, -1, -1]])
    scale = 1.0 if activation == "none" else 10.0
    ids, scores = answered(
        mean_color, activation=activation, similarity=scale * unit_vectors(prototypes), top_k=4
    )
    cosines = np.array(
        [
            [(e @ p) / (np.sqrt(e @ e) * np.sqrt(p @ p)) for p in prototypes.astype(float)]
            for e in LOGITS
        ]
    )
    expected = scale * cosines
    if activation == "softmax":
        expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    elif activation == "sigmoid":
        expected = 1 / (1 + np.exp(-expected))
    assert ids[:, 0].tolist() == [0, 1]
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1), rtol=1e-4, atol=1e-6)


def test_an_embedding_of_zeros_is_like_nothing(mean_color: onnx.ModelProto) -> None:
    graph = build_classifier(
        mean_color,
        read_input(mean_color),
        "logits",
        height=8,
        width=8,
        normalize=Normalize(),
        activation="none",
        threshold=None,
        top_k=2,
        similarity=np.eye(3, dtype=np.float32)[:2],
    )
    outputs = OnnxGraph(graph.SerializeToString())({"crops": np.zeros((1, 8, 8, 3), np.uint8)})
    assert outputs["label_scores"].tolist() == [[0, 0]]


@pytest.mark.parametrize("top_k", [1, 2])
def test_top_k_of_scores_as_they_are(mean_color: onnx.ModelProto, top_k: int) -> None:
    ids, scores = answered(mean_color, activation="none", top_k=top_k)
    assert ids.shape == scores.shape == (2, top_k)
    np.testing.assert_allclose(scores[:, 0], LOGITS.max(axis=1), rtol=1e-5)


def test_mean_and_std_are_of_each_channel(mean_color: onnx.ModelProto) -> None:
    graph = build_classifier(
        mean_color,
        read_input(mean_color),
        "logits",
        height=8,
        width=8,
        normalize=Normalize(mean=(10, 20, 0), std=(1, 10, 2)),
        activation="none",
        threshold=None,
        top_k=3,
    )
    outputs = OnnxGraph(graph.SerializeToString())({"crops": CROPS[:1]})
    scores = dict(
        zip(outputs["label_ids"][0].tolist(), outputs["label_scores"][0].tolist(), strict=True)
    )
    assert scores == pytest.approx({0: 0, 1: 1, 2: 10})
