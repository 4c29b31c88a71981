"""`boxwise init`, `validate` and `export`, as a person runs them."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from contract_support.command import boxwise
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a YOLOX-shaped detector of 64 x 64 and 2 classes, and its pipeline file."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["column"]),
        helper.make_node("Mul", ["column", "rows"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 84, 7])],
        [
            numpy_helper.from_array(np.int64([-1, 1, 1]), "shape"),
            numpy_helper.from_array(np.full((1, 84, 7), 0.001, np.float32), "rows"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "d.onnx",
    )
    (tmp_path / "pipeline.yaml").write_text(
        "name: street\ndetector: {weights: d.onnx, labels: [car, dog]}\n"
    )
    return tmp_path


def test_init_writes_a_file_once(tmp_path: Path) -> None:
    assert boxwise("init", cwd=tmp_path).returncode == 0
    text = (tmp_path / "pipeline.yaml").read_text()
    assert "detector:" in text
    again = boxwise("init", cwd=tmp_path)
    assert again.returncode == 1
    assert (
        again.stderr
        == "error: pipeline.yaml exists; name another file, or replace it with --force\n"
    )
    (tmp_path / "pipeline.yaml").write_text("mine")
    assert boxwise("init", "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "pipeline.yaml").read_text() == text


def test_inspect(folder: Path) -> None:
    seen = boxwise("inspect", "d.onnx", cwd=folder)
    assert seen.returncode == 0
    assert "taken for     detector yolox" in seen.stdout.splitlines()
    assert "size          64 x 64  (by the graph)" in seen.stdout.splitlines()
    document = json.loads(boxwise("inspect", "d.onnx", "--json", cwd=folder).stdout)
    assert (document["kind"], document["family"], document["classes"]) == ("detector", "yolox", 2)
    (folder / "broken.onnx").write_text("nothing")
    broken = boxwise("inspect", "broken.onnx", cwd=folder)
    assert (broken.returncode, broken.stdout) == (1, "")
    assert (
        broken.stderr
        == "error: broken.onnx: not an ONNX model, or one that was cut off (7 bytes)\n"
    )


def test_validate(folder: Path) -> None:
    table = boxwise("validate", "pipeline.yaml", cwd=folder)
    assert table.returncode == 0
    assert "yolox, 2 classes" in table.stdout
    document = json.loads(boxwise("validate", "pipeline.yaml", "--json", cwd=folder).stdout)
    assert document["pipeline"] == "street"
    assert document["detector"]["family"] == "yolox"
    assert document["detector"]["classes"] == ["car", "dog"]
    assert document["classifiers"] == []


def test_validate_shows_which_class_goes_to_which_classifier(folder: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["images"], ["logits"], axes=[2, 3], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        folder / "c.onnx",
    )
    with (folder / "pipeline.yaml").open("a") as file:
        file.write(
            "classifiers: [{name: breed, weights: c.onnx, labels: [a, b, c], only: [dog], "
            "crop: {size: 8}, top_k: 2}]\n"
        )
    lines = boxwise("validate", "pipeline.yaml", cwd=folder).stdout.splitlines()
    assert any("no classifier" in line and "car" in line for line in lines)
    assert any("breed" in line and "dog" in line for line in lines)


def test_export(folder: Path) -> None:
    done = boxwise("export", "pipeline.yaml", "--out", "models", "--cores", 3, "--json", cwd=folder)
    assert done.returncode == 0
    assert json.loads(done.stdout)["repository"] == "models"
    assert "count: 3" in (folder / "models" / "street_detector" / "config.pbtxt").read_text()
    assert (folder / "models" / "street.manifest.json").is_file()


def test_another_layout(folder: Path) -> None:
    assert boxwise("export", "pipeline.yaml", "--out", "models", cwd=folder).returncode == 0
    assert re.match(
        r"street: ensemble \(\d+ preprocess, ", boxwise("layout", "models", cwd=folder).stdout
    )
    before = json.loads(boxwise("layout", "models", "--json", cwd=folder).stdout)
    again = boxwise("layout", "models", "fused", "--json", cwd=folder)
    assert again.stderr.startswith("published revision 2: ")
    assert json.loads(again.stdout)["layout"] == "fused"
    assert not (folder / "models" / "street_detector").exists()
    refused = boxwise("serve", "models", "--target", "tensorrt", cwd=folder)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "error: the pipeline street is laid out for the CPU alone (fused), and has no "
        "models for --target tensorrt: "
        "`boxwise layout models ensemble --pipeline street`\n"
    )
    back = boxwise("layout", "models", "ensemble", "--pipeline", "street", "--json", cwd=folder)
    assert json.loads(back.stdout) == before
    assert boxwise("layout", "models", "ensemble", cwd=folder).stdout.startswith(
        "nothing changed: revision 3 stays\n"
    )
    assert boxwise("layout", "models", "flat", cwd=folder).returncode == 2
    queued = json.loads(
        boxwise("layout", "models", "--max-queue", "5", "--json", cwd=folder).stdout
    )
    assert queued == before | {"max_queue": 5} != before
    assert boxwise("layout", "models", "--max-queue", "-1", cwd=folder).returncode == 2
    assert boxwise("layout", "nowhere", "fused", cwd=folder).returncode == 1


def test_diff_and_rollback(folder: Path) -> None:
    assert boxwise("export", "pipeline.yaml", "--out", "models", cwd=folder).returncode == 0
    with (folder / "pipeline.yaml").open("a") as file:
        file.write("max_megapixels: 10\n")
    again = boxwise("export", "pipeline.yaml", "--out", "models", "--json", cwd=folder)
    assert json.loads(again.stdout)["revision"] == 2
    assert "street_preprocess" in json.loads(again.stdout)["changed"]

    same = boxwise("diff", "models", "models@2", "--exit-code", cwd=folder)
    assert (same.returncode, same.stdout) == (0, "the models are the same\n")
    other = boxwise("diff", "models@1", "models", "--exit-code", cwd=folder)
    assert other.returncode == 1
    assert "street_preprocess: config.pbtxt" in other.stdout.splitlines()
    assert "+max_megapixels: 10" in other.stdout.splitlines()
    assert "street_detector" not in other.stdout
    assert (
        json.loads(boxwise("diff", "models@1", "models", "--json", cwd=folder).stdout)["equal"]
        is False
    )
    wrong = boxwise("diff", "models@7", "models@x", cwd=folder)
    assert (wrong.returncode, wrong.stderr) == (
        1,
        "error: street: there is no revision 7; kept are 1, 2\n",
    )

    back = boxwise("rollback", "models", "--json", cwd=folder)
    assert json.loads(back.stdout)["current"] == 1
    listed = boxwise("rollback", "models", "--list", cwd=folder).stdout.splitlines()
    assert [line.startswith("serves ") for line in listed] == [True, False]
    assert boxwise("rollback", "models", "--to", 2, cwd=folder).returncode == 0
    assert boxwise("rollback", "nowhere", cwd=folder).returncode == 1
    assert not (folder / "nowhere").exists()


def test_what_fails_is_one_sentence_and_leaves_nothing(folder: Path) -> None:
    (folder / "pipeline.yaml").write_text("detector: {weights: d.onnx, labels: [car]}\n")
    failed = boxwise("export", "pipeline.yaml", "--out", "models", cwd=folder)
    assert failed.returncode == 1
    sentence = failed.stderr.splitlines()[-1]
    assert sentence.startswith("error: detector.labels: 1 names, but the graph gives 2 classes; ")
    assert "Traceback" not in failed.stderr
    assert not (folder / "models").exists()


def test_the_command_that_serves_can_be_pasted(folder: Path) -> None:
    done = boxwise("export", "pipeline.yaml", "--out", "my models/rué", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout.splitlines()[-1].partition("serve it with: ")[2]) == [
        "boxwise",
        "serve",
        "my models/rué",
    ]
