"""`boxwise build-engines` and `check-tensorrt`,
as a person runs them on a machine without a GPU.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import yaml
from contract_support import heads
from contract_support.command import boxwise
from contract_support.publisher import publish_plan

from boxwise_export.pipeline import load_pipeline
from boxwise_export.plan import make_plan
from boxwise_export.repository.atomic_dir import write_file


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    onnx.save(heads.yolov8(), tmp_path / "model.onnx")
    file = tmp_path / "pipeline.yaml"
    labels = [f"kind {i}" for i in range(5)]
    file.write_text(
        yaml.safe_dump({"name": "street", "detector": {"weights": "model.onnx", "labels": labels}})
    )
    publish_plan(
        make_plan(load_pipeline(file), cores=2), tmp_path / "repository", file=file.read_text()
    )
    return tmp_path / "repository"


def test_without_tensorrt_it_says_where_it_comes_from(repository: Path) -> None:
    done = boxwise("build-engines", repository)
    assert done.returncode == 1
    assert done.stderr.startswith("error: TensorRT is not here")
    assert "boxwise[export,gpu]" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(repository.rglob("model.plan"))


def test_graphs_are_read(repository: Path) -> None:
    done = boxwise("check-tensorrt", repository)
    assert (done.returncode, done.stdout) == (0, "street_detector: ok\n")


def test_graphs_are_built_for_a_gpu_that_is_not_here(repository: Path) -> None:
    done = boxwise("check-tensorrt", repository, "--capability", "8.9", "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["graphs"] == [
        {"model": "street_detector", "problem": None, "known": None, "passed": True}
    ]
    assert not list(repository.rglob("model.plan"))


def test_a_graph_that_tensorrt_does_not_know_is_exit_code_1(repository: Path) -> None:
    graph = repository / "street_detector" / "1" / "model.onnx"
    model = onnx.load(graph)
    next(node for node in model.graph.node if node.op_type == "TopK").op_type = "Nothing"
    write_file(graph, model.SerializeToString())
    done = boxwise("check-tensorrt", repository)
    assert done.returncode == 1
    assert done.stdout.startswith("street_detector: FAILS: ")


@pytest.mark.parametrize("command", ["build-engines", "check-tensorrt"])
def test_a_folder_that_is_no_repository(command: str, tmp_path: Path) -> None:
    done = boxwise(command, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
