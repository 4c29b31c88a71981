"""Graphs become plans; what TensorRT does not know is said."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import onnx
import pytest
from contract_support import heads
from onnx import TensorProto, helper

from boxwise_export.families import Head, find_family
from boxwise_export.graphs.detector import build_detector
from boxwise_export.graphs.precision import to_fp16
from boxwise_export.graphs.source import probe, read_input
from boxwise_export.pipeline import Normalize
from boxwise_export.repository.manifest import find_manifest
from boxwise_export.tensorrt.build import graphs_of, profile_of
from boxwise_export.tensorrt.check import for_capability
from boxwise_export.tensorrt.engine import EngineError, Profile, build


def graph_of(repository: Path, model: str) -> Path:
    return graphs_of(repository, find_manifest(repository).revision())[model]


def test_a_plan_is_built_and_its_timings_are_used_again(repository: Path, trt: Any) -> None:
    graph = graph_of(repository, "boxwise_detector")
    said: list[str] = []
    built = build(
        trt, graph, profile_of(graph), report=said.append, configure=for_capability(trt, "8.9")
    )
    assert len(built.plan) > 10_000
    assert any(line.startswith("  boxwise_detector: ") for line in said)
    again = build(
        trt, graph, profile_of(graph), timings=built.timings, configure=for_capability(trt, "8.9")
    )
    assert len(again.plan) == pytest.approx(len(built.plan), rel=0.1)


def test_the_profile_is_the_configurations(repository: Path) -> None:
    assert profile_of(graph_of(repository, "boxwise_detector")) == Profile(
        "canvas", (256, 256, 3), 8
    )
    crops = profile_of(graph_of(repository, "boxwise_classifier_kind"))
    assert crops == Profile("crops", (8, 8, 3), 100)
    assert (crops.best, Profile("canvas", (1, 1, 3), 1).best) == (8, 1)


def unknown_operator(folder: Path) -> Path:
    """A graph as a repository has it, of an operator that nobody knows."""
    node = helper.make_node("Nothing", ["canvas"], ["y"], name="node_7", domain="nowhere")
    tensor = (TensorProto.FLOAT, ["batch", 4, 4, 3])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("canvas", *tensor)],
        [helper.make_tensor_value_info("y", *tensor)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nowhere", 1)]
    file = folder / "some_detector" / "1" / "model.onnx"
    file.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), file)
    return file


def test_an_unknown_operator_is_one_sentence(tmp_path: Path, trt: Any) -> None:
    file = unknown_operator(tmp_path)
    with pytest.raises(EngineError) as caught:
        build(trt, file, Profile("canvas", (4, 4, 3), 1), configure=for_capability(trt, "8.9"))
    sentence = str(caught.value)
    assert sentence.startswith(f"some_detector: TensorRT {trt.__version__} cannot read its graph: ")
    assert "Nothing" in sentence
    assert "node_7" in sentence
    assert "\n" not in sentence


def test_shapes_that_do_not_fit_are_one_sentence(repository: Path, trt: Any) -> None:
    graph = graph_of(repository, "boxwise_detector")
    with pytest.raises(
        EngineError, match=r"boxwise_detector: TensorRT .* cannot build it: .*canvas"
    ):
        build(trt, graph, Profile("canvas", (128, 256, 3), 1), configure=for_capability(trt, "8.9"))


def test_a_truncated_graph_is_one_sentence(repository: Path, trt: Any) -> None:
    graph = graph_of(repository, "boxwise_detector")
    graph.write_bytes(graph.read_bytes()[:-100])
    with pytest.raises(EngineError, match=r"boxwise_detector: TensorRT .* cannot read its graph: "):
        build(trt, graph, profile_of(graph), configure=for_capability(trt, "8.9"))


def test_ctrl_c_ends_the_build(repository: Path, trt: Any) -> None:
    """It arrives in the middle, as a signal, and ends the build at its next step."""
    graph = graph_of(repository, "boxwise_detector")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(
            trt,
            graph,
            profile_of(graph),
            report=lambda _: os.kill(os.getpid(), signal.SIGINT),
            configure=for_capability(trt, "8.9"),
        )
    assert signal.getsignal(signal.SIGINT) is before


def test_a_graph_in_fp16_is_built(tmp_path: Path, trt: Any) -> None:
    """Strongly typed: the precision stands in the graph."""
    source = to_fp16(heads.yolov8())
    read = read_input(source)
    _, reading = find_family(None, Head(probe(source, read, 256, 256), 256, 256))
    unit = Normalize(std=(255.0, 255.0, 255.0))
    half, _ = build_detector(
        source, read, reading, height=256, width=256, normalize=unit, candidates=100
    )
    assert TensorProto.FLOAT16 in {each.data_type for each in half.graph.initializer}
    file = tmp_path / "half_detector" / "1" / "model.onnx"
    file.parent.mkdir(parents=True)
    onnx.save(half, file)
    assert build(
        trt, file, Profile("canvas", (256, 256, 3), 4), configure=for_capability(trt, "8.9")
    ).plan
