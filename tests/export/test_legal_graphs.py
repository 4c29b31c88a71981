"""Oddities that ONNX allows: each is exported and gives what its source gives, or is refused by
name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from contract_support import heads
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from boxwise_export.errors import ExportError
from boxwise_export.export import export
from boxwise_export.inspection import inspect
from boxwise_export.pipeline import Weights

NEWEST = onnx.defs.onnx_opset_version()
Change = Callable[[onnx.ModelProto], onnx.ModelProto]
MakeModel = Callable[..., onnx.ModelProto]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(2):
        frame = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(frame).resize((320, 240), Image.Resampling.BICUBIC).save(
            folder / f"{seed}.png"
        )
    return folder


def exported(folder: Path, images: Path, part: dict[str, Any], *, detector: bool = True) -> Any:
    document = {"detector": part} if detector else {"classifiers": [{"name": "c", **part}]}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(document))
    return export(folder / "pipeline.yaml", folder / "repository", cores=1, calibration=images)


def without_names(model: onnx.ModelProto) -> onnx.ModelProto:
    for node in model.graph.node:
        node.name = ""
    return model


def weights_as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """As IR version 3 has it: every initializer is an input too."""
    for each in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(each.name, each.data_type, each.dims)
        )
    model.ir_version = 3
    return model


def with_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    for key, value in {
        "names": "['a', 'b', 'c', 'd', 'e']",
        "imgsz": "256",
        "license": "MIT",
        "task": "detect",
    }.items():
        model.metadata_props.add(key=key, value=value)
    return model


@pytest.mark.parametrize("change", [without_names, weights_as_inputs, with_metadata])
def test_a_detector_in_another_dress(tmp_path: Path, images: Path, change: Change) -> None:
    onnx.save(change(heads.yolov8()), tmp_path / "model.onnx")
    labels = {} if change is with_metadata else {"labels": list("abcde")}
    plan = exported(tmp_path, images, {"weights": "model.onnx", **labels}).plan
    assert plan.detector.labels == tuple("abcde")
    if change is with_metadata:
        assert plan.detector.source.licence == "MIT"


def test_weights_in_a_file_of_their_own(tmp_path: Path, images: Path) -> None:
    onnx.save(
        heads.yolov8(),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    assert (
        exported(
            tmp_path, images, {"weights": "model.onnx", "labels": list("abcde")}
        ).plan.detector.family
        == "yolov8"
    )


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 13, 15, 18, 21, NEWEST])
def test_opsets(tmp_path: Path, images: Path, make_model: MakeModel, opset: int) -> None:
    """A convolution, a pooling and a softmax, as PyTorch wrote them over the years."""
    weights = np.random.default_rng(0).normal(0, 0.1, (5, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["logits"], axis=1),
    ]
    onnx.save(
        make_model(
            nodes,
            {"images": ["batch", 3, 16, 16]},
            {"logits": ["batch", 5]},
            {"w": weights},
            opset=opset,
        ),
        tmp_path / "model.onnx",
    )
    part = {"weights": "model.onnx", "labels": list("abcde"), "normalize": {"std": 255}}
    steps = {
        step.name: step.passed
        for step in exported(tmp_path, images, part, detector=False).parity.steps
    }
    assert (steps["outputs"], steps["top-1"]) == (True, True)


def mean_of(layout: str, kind: int, channels: int = 3) -> onnx.ModelProto:
    """A classifier of four classes: seeded mixtures of four fields of the image,
    of any input type.
    """
    weights = np.random.default_rng(1).normal(0, 0.02, (4 * channels, 4)).astype(np.float32)
    nodes = [helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT)]
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", ["f"], ["x"], perm=[0, 3, 1, 2]))
    else:
        nodes.append(helper.make_node("Identity", ["f"], ["x"]))
    nodes += [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["p"], ["v"]),
        helper.make_node("MatMul", ["v", "w"], ["logits"]),
    ]
    shape = ["batch", channels, 16, 16] if layout == "NCHW" else ["batch", 16, 16, channels]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.DOUBLE]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_classifiers_of_every_input(
    tmp_path: Path, images: Path, layout: str, kind: int, channels: int
) -> None:
    onnx.save(mean_of(layout, kind, channels), tmp_path / "model.onnx")
    part = {"weights": "model.onnx", "labels": list("abcd")}
    report = exported(tmp_path, images, part, detector=False).parity
    assert {step.name: step.passed for step in report.steps} == {
        "pixels": None,
        "outputs": True,
        "top-1": True,
    }


def test_grey_is_what_opencv_makes_of_the_image(tmp_path: Path, images: Path) -> None:
    import cv2
    import onnxruntime as ort

    onnx.save(mean_of("NCHW", TensorProto.FLOAT, 1), tmp_path / "model.onnx")
    plan = exported(
        tmp_path, images, {"weights": "model.onnx", "labels": list("abcd")}, detector=False
    ).plan
    crop = np.random.default_rng(2).integers(0, 256, (1, 16, 16, 3), np.uint8)
    grey = cv2.cvtColor(crop[0], cv2.COLOR_RGB2GRAY)[None, None].astype(np.float32)
    (logits,) = ort.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"images": grey})
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    session = ort.InferenceSession(plan.classifiers[0].graph.SerializeToString())
    ids, found = session.run(["label_ids", "label_scores"], {"crops": crop})
    np.testing.assert_allclose(found[0], scores[0][ids[0]], atol=1e-5)


def test_pixels_that_a_graph_takes_as_they_are_are_not_normalised(
    tmp_path: Path, images: Path
) -> None:
    onnx.save(mean_of("NHWC", TensorProto.UINT8), tmp_path / "model.onnx")
    part = {"weights": "model.onnx", "labels": list("abcd"), "normalize": {"std": 255}}
    with pytest.raises(
        ExportError, match=r"c\.normalize: the graph takes whole pixels of 0 to 255"
    ):
        exported(tmp_path, images, part, detector=False)


def test_grey_has_one_mean(tmp_path: Path, images: Path) -> None:
    onnx.save(mean_of("NHWC", TensorProto.FLOAT, 1), tmp_path / "model.onnx")
    part = {"weights": "model.onnx", "labels": list("abcd"), "normalize": {"mean": [1, 2, 3]}}
    with pytest.raises(
        ExportError, match=r"c\.normalize: the graph takes grey images; give one number"
    ):
        exported(tmp_path, images, part, detector=False)


def test_a_quantized_graph(tmp_path: Path, images: Path, make_model: MakeModel) -> None:
    """Q/DQ around the logits, as ONNX Runtime's quantizer leaves it."""
    constants = {"scale": np.float32(0.1), "zero": np.uint8(128), "w": np.eye(3, dtype=np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["l"]),
        helper.make_node("QuantizeLinear", ["l", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["logits"]),
    ]
    onnx.save(
        make_model(nodes, {"images": ["batch", 3, 8, 8]}, {"logits": ["batch", 3]}, constants),
        tmp_path / "m.onnx",
    )
    part = {"weights": "m.onnx", "labels": list("abc"), "normalize": {"mean": 128, "std": 20}}
    report = exported(tmp_path, images, part, detector=False).parity
    assert {step.name: step.passed for step in report.steps} == {
        "pixels": None,
        "outputs": True,
        "top-1": True,
    }


def constant(make_model: MakeModel, rows: np.ndarray, name: str = "output") -> onnx.ModelProto:
    """A graph of 64 x 64 that gives these values, whatever it sees."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], [name]),
    ]
    constants = {"zero": np.float32(0), "rows": rows.astype(np.float32)}
    return make_model(nodes, {"images": [1, 3, 64, 64]}, {name: list(rows.shape)}, constants)


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (np.random.default_rng(0).random((1, 1, 64, 64)), "a map [1, 1, 64, 64]"),
        (np.random.default_rng(0).normal(0, 3, (1, 21, 64, 64)), "a map [1, 21, 64, 64]"),
        (softmax(np.random.default_rng(0).normal(0, 5, (1, 40, 97))), "a sequence [1, 40, 97]"),
        (softmax(np.random.default_rng(0).normal(0, 5, (26, 1, 37))), "a sequence [26, 1, 37]"),
    ],
)
def test_what_is_no_detector_is_named(
    tmp_path: Path, make_model: MakeModel, rows: np.ndarray, what: str
) -> None:
    onnx.save(constant(make_model, rows), tmp_path / "model.onnx")
    seen = inspect(Weights(file=tmp_path / "model.onnx"))
    assert seen.kind is None
    assert what in seen.why


def test_tensorflow_lite_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(
        ExportError, match="TensorFlow Lite file, which is not read; convert it to ONNX"
    ):
        inspect(Weights(file=tmp_path / "model.tflite"))


ROWS = np.float32([[[16, 16, 32, 48, 0.9, 1], [8, 8, 24, 24, 0.6, 0], [0, 0, 0, 0, 0, 0]]])


@pytest.mark.parametrize(
    ("columns", "order"),
    [
        (["x1", "y1", "x2", "y2", "score", "class"], [0, 1, 2, 3, 4, 5]),
        (["class", "score", "x1", "y1", "x2", "y2"], [5, 4, 0, 1, 2, 3]),
        (["skip", "class", "score", "x1", "y1", "x2", "y2"], [0, 5, 4, 0, 1, 2, 3]),
    ],
)
def test_columns_of_one_output(
    tmp_path: Path, images: Path, make_model: MakeModel, columns: list[str], order: list[int]
) -> None:
    onnx.save(constant(make_model, ROWS[..., order]), tmp_path / "model.onnx")
    part = {
        "weights": "model.onnx",
        "labels": ["a", "b"],
        "tensors": {"rows": "output", "columns": columns, "nms": False},
        "canvas": {"resize": "stretch"},
    }
    report = exported(tmp_path, images, part).parity
    (step,) = [step for step in report.steps if step.name == "detections"]
    assert (step.passed, step.figures["matched"]) == (True, 4)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"rows": "output"}, "either `boxes` and `scores`, or `rows` and `columns`"),
        (
            {"rows": "output", "columns": ["x1", "y1", "x2", "y2"]},
            "needs score and the four of one box",
        ),
        (
            {"rows": "output", "columns": ["x1", "y1", "x2", "score", "skip"]},
            "needs score and the four of one box",
        ),
        (
            {"rows": "output", "columns": ["left", "y1", "x2", "y2", "score"]},
            "'left' is not known; expected x1, y1,",
        ),
        (
            {"rows": "output", "columns": ["x1", "y1", "x2", "y2", "score"]},
            "output of [..., 5], as `tensors.columns`",
        ),
        (
            {"rows": "output", "columns": ["score", "x1", "y1", "x2", "y2", "class"]},
            "the column score of output goes",
        ),
    ],
)
def test_columns_that_do_not_fit(
    tmp_path: Path, images: Path, make_model: MakeModel, tensors: dict[str, Any], message: str
) -> None:
    onnx.save(constant(make_model, ROWS), tmp_path / "model.onnx")
    with pytest.raises(ExportError) as caught:
        exported(
            tmp_path, images, {"weights": "model.onnx", "labels": ["a", "b"], "tensors": tensors}
        )
    assert message in str(caught.value)


def test_a_class_without_a_name_is_refused(
    tmp_path: Path, images: Path, make_model: MakeModel
) -> None:
    """A class id beyond the names shows only where it is found."""
    onnx.save(constant(make_model, ROWS + np.float32([0, 0, 0, 0, 0, 1])), tmp_path / "model.onnx")
    columns = ["x1", "y1", "x2", "y2", "score", "class"]
    part = {
        "weights": "model.onnx",
        "labels": ["a", "b"],
        "tensors": {"rows": "output", "columns": columns},
    }
    with pytest.raises(
        ExportError, match=r"2 names, but the graph gives class 2 \(from 0\).*background: first"
    ):
        exported(tmp_path, images, part)
    assert exported(tmp_path, images, {**part, "background": "first"}).plan.detector.labels == (
        "a",
        "b",
    )


def test_a_folder_of_an_ultralytics_training(tmp_path: Path, images: Path) -> None:
    run = tmp_path / "train"
    (run / "weights").mkdir(parents=True)
    (run / "args.yaml").write_text("task: detect\nimgsz: 256\n")
    (run / "data.yaml").write_text("names: {0: a, 1: b, 2: c, 3: d, 4: e}\n")
    onnx.save(heads.yolov8(), run / "weights" / "best.onnx")
    assert exported(tmp_path, images, {"weights": "train"}).plan.detector.labels == tuple("abcde")
    (run / "weights" / "best.onnx").unlink()
    with pytest.raises(ExportError, match=r"without weights/best\.onnx or weights/best\.pt"):
        exported(tmp_path, images, {"weights": "train"})
