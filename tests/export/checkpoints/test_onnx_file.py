"""ONNX files, the bad ones first."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from boxwise_export.checkpoints.onnx_file import read_onnx
from boxwise_export.errors import SourceError

MakeModel = Callable[..., onnx.ModelProto]


@pytest.fixture
def model(make_model: MakeModel) -> onnx.ModelProto:
    """x + w, w of 4,096 numbers."""
    nodes = [helper.make_node("Add", ["x", "w"], ["y"]), helper.make_node("Neg", ["y"], ["z"])]
    return make_model(
        nodes, {"x": [4096]}, {"y": [4096], "z": [4096]}, {"w": np.arange(4096, dtype=np.float32)}
    )


@pytest.fixture
def split(model: onnx.ModelProto, tmp_path: Path) -> Path:
    """The same, with its weights in weights.bin."""
    path = tmp_path / "split.onnx"
    onnx.save_model(
        model, path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return path


@pytest.mark.parametrize("kept", [0, 1, 1000, -1])
def test_cut_off(model: onnx.ModelProto, tmp_path: Path, kept: int) -> None:
    whole = model.SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[: kept if kept >= 0 else len(whole) - 1])
    with pytest.raises(SourceError, match=r"model\.onnx: not an? (valid )?ONNX model"):
        read_onnx(path)


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        pickle.dumps({"weights": [1.0]}),
        b"<html>",
    ],
)
def test_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"model\.onnx: not an ONNX model"):
        read_onnx(path)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_onnx(tmp_path)


def test_weights_beside_it(split: Path) -> None:
    assert len(split.read_bytes()) < 1000
    weights = onnx.numpy_helper.to_array(read_onnx(split).graph.initializer[0])
    assert np.array_equal(weights, np.arange(4096, dtype=np.float32))


def test_weights_that_are_missing(split: Path) -> None:
    (split.parent / "weights.bin").unlink()
    with pytest.raises(
        SourceError, match=r"its weights are in weights\.bin, which is not beside it"
    ):
        read_onnx(split)


def test_weights_that_are_cut_off(split: Path) -> None:
    os.truncate(split.parent / "weights.bin", 100)
    with pytest.raises(
        SourceError, match=r"split\.onnx: (its weights cannot be read|not a valid ONNX model)"
    ):
        read_onnx(split)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "inner/../../secret", "link"])
def test_weights_outside_the_folder(split: Path, location: str) -> None:
    (split.parent.parent / "secret").write_bytes(bytes(4 * 4096))
    (split.parent / "inner").mkdir()
    (split.parent / "link").symlink_to("../secret")
    model = onnx.load_model(split, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    split.write_bytes(model.SerializeToString())
    with pytest.raises(
        SourceError, match=f"weights are in {location}, outside its folder; that is not read"
    ):
        read_onnx(split)


@pytest.mark.parametrize("name", ["weights.bin", "split.onnx"])
def test_more_than_protobuf_can_hold(split: Path, name: str) -> None:
    os.truncate(split.parent / name, 2**31)  # a hole, which takes no room
    with pytest.raises(
        SourceError, match=r"2\.1 GB of weights; an ONNX graph is exported up to 2\.1 GB"
    ):
        read_onnx(split)


def test_an_opset_that_is_not_known(model: onnx.ModelProto, tmp_path: Path) -> None:
    model.opset_import[0].version = 999
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(
        SourceError, match=r"opset 999, but onnx .* knows up to \d+; export it with an older opset"
    ):
        read_onnx(tmp_path / "model.onnx")


def test_an_operator_that_is_not_known(model: onnx.ModelProto, tmp_path: Path) -> None:
    model.graph.node[0].op_type = "Addition"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(
        SourceError, match=r"not a valid ONNX model \(No Op registered for Addition"
    ):
        read_onnx(tmp_path / "model.onnx")


def test_only_some_outputs(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "model.onnx")
    assert [output.name for output in read_onnx(tmp_path / "model.onnx", ["z"]).graph.output] == [
        "z"
    ]
    with pytest.raises(SourceError, match="has no output 'a'; it has y, z"):
        read_onnx(tmp_path / "model.onnx", ["a"])
