"""What a checkpoint is taken for, and why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from boxwise_export.errors import ExportError
from boxwise_export.inspection import Inspection, draw, inspect
from boxwise_export.pipeline import Weights

MakeModel = Callable[..., onnx.ModelProto]


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Inspection]:
    def look(
        model: onnx.ModelProto,
        size: tuple[int, int] | None = None,
        outputs: list[str] | None = None,
    ) -> Inspection:
        onnx.save(model, tmp_path / "model.onnx")
        return inspect(Weights(file=tmp_path / "model.onnx", outputs=outputs), size)

    return look


def test_a_detector(look: Callable[..., Inspection], rows: onnx.ModelProto) -> None:
    seen = look(rows)
    assert (seen.kind, seen.family, seen.classes, seen.batch) == ("detector", "yolox", 2, "any")
    assert (
        seen.why
        == "output [1, 84, 7]: 84 cells of strides 8, 16, 32, 5 + 2 columns, boxes on the grid"
    )
    assert (seen.input, seen.outputs) == ("images [batch, 3, 64, 64]", {"output": [1, 84, 7]})
    assert seen.preprocessing["size"] == [(64, 64), "the graph"]
    assert seen.preprocessing["color_order"] == ["bgr", "yolox's way"]
    assert seen.document()["licence"] is None


def test_a_classifier(look: Callable[..., Inspection], mean_color: onnx.ModelProto) -> None:
    seen = look(mean_color)
    assert (seen.kind, seen.family, seen.classes) == ("classifier", None, 3)
    assert seen.why == "one output logits [1, 3]: a number for each of 3 classes"
    assert seen.preprocessing == {"size": [(8, 8), "the graph"]}


def test_neither(look: Callable[..., Inspection], make_model: MakeModel) -> None:
    """A head of 5 + 2 columns with a row too many: the nearest family and its missing piece are
    said.
    """
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["column"]),
        helper.make_node("Mul", ["column", "rows"], ["output"]),
    ]
    constants = {"shape": np.int64([-1, 1, 1]), "rows": np.ones((1, 85, 7), np.float32)}
    seen = look(
        make_model(nodes, {"images": ["batch", 3, 64, 64]}, {"output": ["batch", 85, 7]}, constants)
    )
    assert (seen.kind, seen.family, seen.classes) == (None, None, None)
    assert seen.why.startswith("the nearest family is yolo")
    assert "84" in seen.why


def test_a_graph_of_any_size_asks_for_one(
    look: Callable[..., Inspection], make_model: MakeModel
) -> None:
    nodes = [helper.make_node("ReduceMean", ["images"], ["logits"], axes=[2, 3], keepdims=0)]
    model = make_model(nodes, {"images": ["batch", 3, "h", "w"]}, {"logits": ["batch", 3]}, {})
    with pytest.raises(ExportError, match="--size: the graph takes images of any size; say which"):
        look(model)
    assert look(model, (32, 16)).preprocessing["size"] == [(32, 16), "--size"]


def test_a_batch_of_one_says_why(look: Callable[..., Inspection], make_model: MakeModel) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("ReduceMean", ["mean"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    seen = look(make_model(nodes, {"images": ["batch", 3, 8, 8]}, {"logits": [1, 3]}, {}))
    assert seen.batch == "output logits is [1, 3] for 3 images: it has no batch dimension"
    assert seen.input == "images [1, 3, 8, 8]"


def test_only_some_outputs(look: Callable[..., Inspection], make_model: MakeModel) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["logits"], axes=[2, 3], keepdims=0),
        helper.make_node("Relu", ["images"], ["features"]),
    ]
    outputs = {"logits": ["batch", 3], "features": ["batch", 3, 8, 8]}
    model = make_model(nodes, {"images": ["batch", 3, 8, 8]}, outputs, {})
    assert look(model).kind is None
    assert look(model, outputs=["logits"]).kind == "classifier"


def test_images_are_drawn_with_what_it_finds(
    tmp_path: Path, rows: onnx.ModelProto, mean_color: onnx.ModelProto
) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (80, 60), "red").save(tmp_path / "images" / "red.png")
    for model, size in ((rows, None), (mean_color, (8, 8))):
        onnx.save(model, tmp_path / "model.onnx")
        weights, out = Weights(file=tmp_path / "model.onnx"), tmp_path / f"out-{size}"
        draw(weights, inspect(weights, size), tmp_path / "images", out, size=size)
        assert sorted(path.name for path in out.iterdir()) == ["001-red.jpg", "contact-sheet.jpg"]
        with Image.open(out / "001-red.jpg") as drawn:
            assert drawn.size == (80, 60)
            assert len(drawn.getcolors(10_000) or []) > 1, "nothing is drawn on it"


def test_what_is_neither_is_not_drawn(tmp_path: Path, make_model: MakeModel) -> None:
    nodes = [helper.make_node("Relu", ["images"], ["features"])]
    onnx.save(
        make_model(nodes, {"images": [1, 3, 8, 8]}, {"features": [1, 3, 8, 8]}, {}),
        tmp_path / "model.onnx",
    )
    weights = Weights(file=tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="the nearest family is"):
        draw(weights, inspect(weights), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
