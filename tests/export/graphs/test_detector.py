"""Decoding and top-K inside the graph, against numpy written from the family's description."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from boxwise_export.families import Head, find_family
from boxwise_export.graphs.detector import build_detector
from boxwise_export.graphs.source import probe, read_input
from boxwise_export.pipeline import Normalize
from boxwise_runtime.session import OnnxGraph

SIDE, CELLS, CLASSES = 32, 16, 3  # a canvas of 32 pixels, maps of 16 x 16: stride 2


def centernet(
    make_model: Callable[..., onnx.ModelProto], heat: np.ndarray, distances: np.ndarray
) -> onnx.ModelProto:
    """A graph that answers with these maps [16, 16, C] and [16, 16, 4], for a batch of any size."""
    zero = helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1)
    nodes = [
        zero,
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "heat_values"], ["heat"]),
        helper.make_node("Add", ["nothing", "distance_values"], ["distances"]),
    ]
    return make_model(
        nodes,
        {"images": ["batch", SIDE, SIDE, 3]},
        {"heat": ["batch", CELLS, CELLS, CLASSES], "distances": ["batch", CELLS, CELLS, 4]},
        {
            "zero": np.float32([0]),
            "heat_values": heat[np.newaxis],
            "distance_values": distances[np.newaxis],
        },
    )


def decoded(model: onnx.ModelProto, candidates: int, batch: int = 1) -> dict[str, np.ndarray]:
    source = read_input(model)
    assert source.height is not None
    assert source.width is not None
    outputs = probe(model, source, source.height, source.width)
    _, reading = find_family(None, Head(outputs, source.height, source.width))
    graph, _ = build_detector(
        model,
        source,
        reading,
        height=source.height,
        width=source.width,
        normalize=Normalize(),
        candidates=candidates,
    )
    canvas = np.zeros((batch, source.height, source.width, 3), np.uint8)
    return OnnxGraph(graph.SerializeToString())({"canvas": canvas})


def peaks(heat: np.ndarray, distances: np.ndarray) -> list[tuple[float, int, tuple[float, ...]]]:
    """Every cell that no neighbour exceeds, as (score, class, box), best first."""
    padded = np.pad(heat, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    found = []
    for y, x, c in np.ndindex(*heat.shape):
        if heat[y, x, c] >= padded[y : y + 3, x : x + 3, c].max():
            left, top, right, bottom = distances[y, x].tolist()
            box = (2 * x - left, 2 * y - top, 2 * x + right, 2 * y + bottom)
            found.append((float(heat[y, x, c]), c, box))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("candidates", [1, 5, 20])
def test_centernet_equals_peaks_found_cell_by_cell(
    make_model: Callable[..., onnx.ModelProto], candidates: int
) -> None:
    random = np.random.default_rng(candidates)
    heat = random.random((CELLS, CELLS, CLASSES), np.float32)
    distances = random.uniform(0, 8, (CELLS, CELLS, 4)).astype(np.float32)
    got = decoded(centernet(make_model, heat, distances), candidates, batch=2)
    expected = peaks(heat, distances)[:candidates]
    for row in range(2):
        np.testing.assert_allclose(
            got["candidate_scores"][row], [score for score, _, _ in expected], rtol=1e-6
        )
        assert got["candidate_classes"][row].tolist() == [class_id for _, class_id, _ in expected]
        np.testing.assert_allclose(
            got["candidate_boxes"][row], [box for _, _, box in expected], atol=1e-4
        )


def test_the_best_pairs_may_be_many_classes_of_few_cells(
    make_model: Callable[..., onnx.ModelProto],
) -> None:
    heat = np.zeros((CELLS, CELLS, CLASSES), np.float32)
    heat[4, 4] = [0.9, 0.8, 0.7]
    heat[10, 10] = [0.1, 0.2, 0.3]
    got = decoded(centernet(make_model, heat, np.ones((CELLS, CELLS, 4), np.float32)), candidates=4)
    np.testing.assert_allclose(got["candidate_scores"][0], [0.9, 0.8, 0.7, 0.3], rtol=1e-6)
    assert got["candidate_classes"][0].tolist() == [0, 1, 2, 2]
    assert got["candidate_boxes"][0].tolist() == [[7, 7, 9, 9]] * 3 + [[19, 19, 21, 21]]


def test_yolox_equals_numpy(rows: onnx.ModelProto) -> None:
    source = read_input(rows)
    (values,) = probe(rows, source, 64, 64).values()
    grid = [(x, y, s) for s in (8, 16, 32) for y in range(64 // s) for x in range(64 // s)]
    expected = []
    for (x, y, stride), row in zip(grid, values[0].astype(float), strict=True):
        centre_x, centre_y = (row[0] + x) * stride, (row[1] + y) * stride
        width, height = np.exp(row[2]) * stride, np.exp(row[3]) * stride
        box = (
            centre_x - width / 2,
            centre_y - height / 2,
            centre_x + width / 2,
            centre_y + height / 2,
        )
        expected += [(row[4] * row[5 + c], c, box) for c in range(2)]
    expected.sort(key=lambda each: -each[0])
    got = decoded(rows, candidates=30)
    np.testing.assert_allclose(
        got["candidate_scores"][0], [score for score, _, _ in expected[:30]], rtol=1e-5
    )
    assert got["candidate_classes"][0].tolist() == [class_id for _, class_id, _ in expected[:30]]
    np.testing.assert_allclose(
        got["candidate_boxes"][0], [box for _, _, box in expected[:30]], atol=1e-3
    )
    assert got["candidate_classes"].dtype == np.int32
