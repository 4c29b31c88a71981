"""Tiny TFJS graph models, written to disk as the converter writes them, against TensorFlow's
definitions in numpy.
"""

import base64
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwise_export.checkpoints.tfjs import read_tfjs
from boxwise_export.errors import SourceError

RNG = np.random.default_rng(0)
FAST = settings(max_examples=40, deadline=None)
MODES = ("asymmetric", "half_pixel_centers", "align_corners")


def text(value: str) -> dict[str, Any]:
    return {"s": base64.b64encode(value.encode()).decode()}


def texts(*values: str) -> dict[str, Any]:
    return {"list": {"s": [base64.b64encode(value.encode()).decode() for value in values]}}


def hw(height: int, width: int) -> dict[str, Any]:
    return {"list": {"i": ["1", str(height), str(width), "1"]}}


def node(name: str, op: str, *inputs: str, **attributes: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def placeholder(*shape: int) -> dict[str, Any]:
    return node(
        "x", "Placeholder", shape={"shape": {"dim": [{"size": str(size)} for size in shape]}}
    )


def write(
    folder: Path,
    nodes: Sequence[Mapping[str, Any]],
    weights: Mapping[str, np.ndarray],
    quantization: Mapping[str, Any] | None = None,
) -> Path:
    """A model of these nodes whose constants are `weights`, as stored; its signature asks for the
    last node.
    """
    consts = [node(name, "Const") for name in weights]
    specs = [
        {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}
        | ({"dtype": "float32", "quantization": quantization} if quantization else {})
        for name, value in weights.items()
    ]
    document = {
        "format": "graph-model",
        "signature": {"outputs": {"y": {"name": f"{nodes[-1]['name']}:0"}}} if nodes else {},
        "modelTopology": {"node": [*consts, *nodes]},
        "weightsManifest": [{"paths": ["group1-shard1of1.bin"], "weights": specs}],
    }
    (folder / "group1-shard1of1.bin").write_bytes(
        b"".join(value.tobytes() for value in weights.values())
    )
    path = folder / "model.json"
    path.write_text(json.dumps(document))
    return path


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {"x": x})
    declared = session.get_outputs()[0].shape
    assert len(declared) == y.ndim
    assert all(
        size in (n, None) or isinstance(size, str)
        for size, n in zip(declared, y.shape, strict=True)
    )
    return np.asarray(y)


def evaluate(
    nodes: Sequence[Mapping[str, Any]], weights: Mapping[str, np.ndarray], x: np.ndarray
) -> np.ndarray:
    # Not tmp_path: hypothesis runs many examples in one test.
    with tempfile.TemporaryDirectory() as folder:
        return run(
            read_tfjs(write(Path(folder), [placeholder(1, *x.shape[1:]), *nodes], weights)), x
        )


def values(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def tf_windows(
    x: np.ndarray, kernel: tuple[int, int], strides: tuple[int, int], padding: str, fill: float
) -> np.ndarray:
    """TensorFlow's windows of NHWC `x`: [N, out height, out width, kernel height,
    kernel width, C].
    """
    for axis, (k, s) in enumerate(zip(kernel, strides, strict=True), start=1):
        n = x.shape[axis]
        total = max((-(-n // s) - 1) * s + k - n, 0) if padding == "SAME" else 0
        pads = [(0, 0)] * 4
        pads[axis] = (total // 2, total - total // 2)
        x = np.pad(x, pads, constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(1, 2))[
        :, :: strides[0], :: strides[1]
    ]
    return windows.transpose(0, 1, 2, 4, 5, 3)


@st.composite
def windowed(draw: st.DrawFn) -> dict[str, Any]:
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    least = kernel if padding == "VALID" else (1, 1)
    return {
        "kernel": kernel,
        "padding": padding,
        "strides": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "x": values(
            2,
            draw(st.integers(least[0], 9)),
            draw(st.integers(least[1], 9)),
            draw(st.integers(1, 4)),
        ),
    }


@FAST
@given(windowed(), st.integers(1, 3))
def test_conv2d_is_tensorflows(case: dict[str, Any], filters: int) -> None:
    x, strides = case["x"], case["strides"]
    kernel = values(*case["kernel"], x.shape[3], filters)
    conv = node(
        "y",
        "Conv2D",
        "x",
        "k",
        strides=hw(*strides),
        padding=text(case["padding"]),
        data_format=text("NHWC"),
    )
    expected = np.einsum(
        "nhwijc,ijco->nhwo", tf_windows(x, case["kernel"], strides, case["padding"], 0), kernel
    )
    np.testing.assert_allclose(evaluate([conv], {"k": kernel}, x), expected, atol=1e-4)


@FAST
@given(windowed(), st.integers(1, 3))
def test_depthwise_conv_is_tensorflows(case: dict[str, Any], multiplier: int) -> None:
    x, strides = case["x"], case["strides"]
    kernel = values(*case["kernel"], x.shape[3], multiplier)
    conv = node(
        "y", "DepthwiseConv2dNative", "x", "k", strides=hw(*strides), padding=text(case["padding"])
    )
    expected = np.einsum(
        "nhwijc,ijcm->nhwcm", tf_windows(x, case["kernel"], strides, case["padding"], 0), kernel
    )
    expected = expected.reshape(*expected.shape[:3], -1)
    np.testing.assert_allclose(evaluate([conv], {"k": kernel}, x), expected, atol=1e-4)


@FAST
@given(windowed())
def test_max_pool_is_tensorflows(case: dict[str, Any]) -> None:
    x, strides = case["x"], case["strides"]
    pool = node(
        "y",
        "MaxPool",
        "x",
        ksize=hw(*case["kernel"]),
        strides=hw(*strides),
        padding=text(case["padding"]),
    )
    expected = tf_windows(x, case["kernel"], strides, case["padding"], -np.inf).max((3, 4))
    np.testing.assert_array_equal(evaluate([pool], {}, x), expected)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_dilated_conv(padding: str) -> None:
    x, kernel = values(1, 9, 8, 2), values(3, 2, 2, 3)
    spread = np.zeros((5, 4, 2, 3), np.float32)  # the same filter with its holes written out
    spread[::2, ::3] = kernel
    conv = node(
        "y", "Conv2D", "x", "k", padding=text(padding), strides=hw(1, 1), dilations=hw(2, 3)
    )
    expected = np.einsum("nhwijc,ijco->nhwo", tf_windows(x, (5, 4), (1, 1), padding, 0), spread)
    np.testing.assert_allclose(evaluate([conv], {"k": kernel}, x), expected, atol=1e-4)


def test_an_image_of_any_size(tmp_path: Path) -> None:
    kernel = values(3, 3, 3, 2)
    conv = node("y", "Conv2D", "x", "k", padding=text("SAME"), strides=hw(1, 1))
    model = read_tfjs(write(tmp_path, [placeholder(-1, -1, -1, 3), conv], {"k": kernel}))
    for size in ((5, 7), (8, 2)):
        x = values(2, *size, 3)
        expected = np.einsum("nhwijc,ijco->nhwo", tf_windows(x, (3, 3), (1, 1), "SAME", 0), kernel)
        np.testing.assert_allclose(run(model, x), expected, atol=1e-4)


@pytest.mark.parametrize(
    "last",
    [
        node("y", "Conv2D", "x", "k", padding=text("SAME"), strides=hw(2, 2)),
        node("y", "ResizeBilinear", "x", "size"),
    ],
)
def test_what_depends_on_the_size_asks_for_one(tmp_path: Path, last: dict[str, Any]) -> None:
    constants = {"k": values(3, 3, 3, 2), "size": np.int32([4, 4])}
    with pytest.raises(SourceError, match="unknown size; freeze the graph with a fixed input size"):
        read_tfjs(write(tmp_path, [placeholder(-1, -1, -1, 3), last], constants))


@pytest.mark.parametrize("op", ["_FusedConv2D", "FusedDepthwiseConv2dNative"])
@pytest.mark.parametrize("fused", [("BiasAdd",), ("BiasAdd", "Relu"), ("BiasAdd", "Relu6")])
def test_fused_conv_adds_its_bias_then_activates(op: str, fused: tuple[str, ...]) -> None:
    x, kernel, bias = (
        values(2, 4, 5, 3) * 9,
        values(1, 1, 3, 1),
        values(1 if op == "_FusedConv2D" else 3),
    )
    conv = node(
        "y", op, "x", "k", "b", padding=text("SAME"), strides=hw(1, 1), fused_ops=texts(*fused)
    )
    linear = (x @ kernel[0, 0] if op == "_FusedConv2D" else x * kernel[0, 0, :, 0]) + bias
    top = {"Relu": np.inf, "Relu6": 6}.get(fused[-1])
    expected = linear if top is None else np.clip(linear, 0, top)
    np.testing.assert_allclose(evaluate([conv], {"k": kernel, "b": bias}, x), expected, atol=1e-4)


def tf_positions(size: int, target: int, mode: str) -> np.ndarray:
    out = np.arange(target)
    if mode == "align_corners":
        return out * (size - 1) / (target - 1) if target > 1 else out * 0.0
    return out * size / target if mode == "asymmetric" else (out + 0.5) * size / target - 0.5


def tf_resize(x: np.ndarray, target: tuple[int, int], mode: str) -> np.ndarray:
    for axis, size in ((1, target[0]), (2, target[1])):
        at = tf_positions(x.shape[axis], size, mode)
        low = np.clip(np.floor(at), 0, x.shape[axis] - 1).astype(int)
        high = np.clip(np.ceil(at), 0, x.shape[axis] - 1).astype(int)
        weight = np.expand_dims(at - np.floor(at), tuple(set(range(4)) - {axis}))
        x = x.take(low, axis) * (1 - weight) + x.take(high, axis) * weight
    return x


@FAST
@given(
    st.tuples(*[st.integers(1, 9)] * 2),
    st.tuples(*[st.integers(1, 30)] * 2),
    st.sampled_from(MODES),
)
def test_resize_bilinear_is_tensorflows(
    size: tuple[int, int], target: tuple[int, int], mode: str
) -> None:
    x = values(2, *size, 2)
    flags = {} if mode == "asymmetric" else {mode: {"b": True}}
    y = evaluate(
        [node("y", "ResizeBilinear", "x", "size", **flags)], {"size": np.array(target, np.int32)}, x
    )
    assert y.shape == (2, *target, 2)
    np.testing.assert_allclose(y, tf_resize(x, target, mode), atol=1e-4)


@pytest.mark.parametrize(
    ("size", "target"), [(3, 5), (3, 7), (7, 61), (41, 49), (55, 99), (99, 98)]
)
def test_resize_reaches_its_target_where_the_scale_is_no_float32(size: int, target: int) -> None:
    resize = node("y", "ResizeBilinear", "x", "size")
    y = evaluate([resize], {"size": np.array([target, 2], np.int32)}, values(1, size, 1, 1))
    assert y.shape == (1, target, 2, 1)


@pytest.mark.parametrize("op", ["Add", "AddV2", "Sub", "Mul"])
@pytest.mark.parametrize(
    "shape", [(), (1,), (3,), (5, 1), (5, 3), (4, 1, 1), (1, 4, 5, 3), (1, 1, 1, 3)]
)
@pytest.mark.parametrize("constant_first", [False, True])
def test_elementwise_with_a_constant_broadcasts_as_nhwc(
    op: str, shape: tuple[int, ...], constant_first: bool
) -> None:
    x, constant = values(2, 4, 5, 3), values(*shape)
    function = {"Add": np.add, "AddV2": np.add, "Sub": np.subtract, "Mul": np.multiply}[op]
    inputs, operands = (
        (("c", "x"), (constant, x)) if constant_first else (("x", "c"), (x, constant))
    )
    np.testing.assert_allclose(
        evaluate([node("y", op, *inputs)], {"c": constant}, x), function(*operands), atol=1e-6
    )


def test_one_constant_in_two_layouts() -> None:
    x, c = values(2, 4, 4, 3), values(3)
    mean = [
        node("scaled", "Mul", "x", "c"),
        node("m", "Mean", "scaled", "axes"),
        node("y", "Sub", "m", "c"),
    ]
    y = evaluate(mean, {"c": c, "axes": np.array([1, 2], np.int32)}, x)
    np.testing.assert_allclose(y, (x * c).mean((1, 2)) - c, atol=1e-5)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [(1, 2), (2, 1), (-2, -3), (1,), (2,), (3,), (-1, 1), (1, 2, 3)])
def test_mean(axes: tuple[int, ...], keep: bool) -> None:
    x = values(2, 4, 5, 3)
    y = evaluate(
        [node("y", "Mean", "x", "axes", keep_dims={"b": keep})],
        {"axes": np.array(axes, np.int32)},
        x,
    )
    np.testing.assert_allclose(y, x.mean(axes, keepdims=keep), atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_concat(axis: int) -> None:
    x = values(2, 4, 5, 3)
    nodes = [node("positive", "Relu", "x"), node("y", "ConcatV2", "x", "positive", "axis")]
    expected = np.concatenate([x, x.clip(0)], axis)
    np.testing.assert_array_equal(evaluate(nodes, {"axis": np.array(axis, np.int32)}, x), expected)


@pytest.mark.parametrize(
    "target", [(-1, 60), (1, -1), (-1, 20, 3), (1, -1, 3), (-1, 5, 4, 3), (1, 2, 2, -1)]
)
def test_reshape_keeps_the_rows_of_a_batch(target: tuple[int, ...]) -> None:
    x = values(2, 4, 5, 3)
    y = evaluate([node("y", "Reshape", "x", "target")], {"target": np.array(target, np.int32)}, x)
    np.testing.assert_array_equal(y, np.stack([row.reshape(target[1:]) for row in x]))


def test_activations() -> None:
    x = values(2, 4, 5, 3) * 6
    for op, function in {
        "Relu": lambda v: np.maximum(v, 0),
        "Relu6": lambda v: np.clip(v, 0, 6),
        "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    }.items():
        np.testing.assert_allclose(evaluate([node("y", op, "x")], {}, x), function(x), atol=1e-6)


def test_an_identity_names_an_output_of_any_rank() -> None:
    x = values(2, 4, 4, 3)
    image = [node("inner", "Relu", "x"), node("y", "Identity", "inner")]
    np.testing.assert_array_equal(evaluate(image, {}, x), x.clip(0))
    row = [node("inner", "Mean", "x", "axes"), node("y", "Identity", "inner")]
    np.testing.assert_allclose(
        evaluate(row, {"axes": np.int32([1, 2])}, x), x.mean((1, 2)), atol=1e-6
    )


@pytest.mark.parametrize(
    ("dtype", "quantization", "decoded"),
    [
        ("float32", None, [0.5, 1.0, 200.0]),
        ("float16", {"dtype": "float16", "original_dtype": "float32"}, [0.5, 1.0, 200.0]),
        ("uint8", {"dtype": "uint8", "scale": 0.5, "min": -3.0}, [-3.0, -2.5, 97.0]),
        ("uint16", {"dtype": "uint16", "scale": 0.25, "min": 1.0}, [1.0, 1.25, 51.0]),
    ],
)
def test_weights_are_dequantized(
    tmp_path: Path, dtype: str, quantization: dict[str, Any] | None, decoded: list[float]
) -> None:
    stored = np.array([0.5, 1, 200]).astype(dtype)
    path = write(
        tmp_path, [placeholder(1, 2, 2, 3), node("y", "Mul", "x", "c")], {"c": stored}, quantization
    )
    ones = np.ones((1, 2, 2, 3), np.float32)
    np.testing.assert_array_equal(run(read_tfjs(path), ones), ones * np.array(decoded, np.float32))


def test_a_weight_may_straddle_shards(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        [placeholder(1, 2, 2, 3), node("y", "Mul", "x", "c")],
        {"c": np.float32([1, 2, 3])},
    )
    data = (tmp_path / "group1-shard1of1.bin").read_bytes()
    document = json.loads(path.read_text())
    document["weightsManifest"][0]["paths"] = ["a.bin", "b.bin"]
    (tmp_path / "a.bin").write_bytes(data[:5])
    (tmp_path / "b.bin").write_bytes(data[5:])
    path.write_text(json.dumps(document))
    assert run(read_tfjs(path), np.ones((1, 2, 2, 3), np.float32))[0, 0, 0].tolist() == [1, 2, 3]


@pytest.fixture
def two_heads(tmp_path: Path) -> Path:
    """A trunk of a convolution, a squeeze and a concat, with two heads, and a node behind them that
    nobody can read.
    """
    nodes = [
        placeholder(1, 8, 8, 3),
        node("conv", "Conv2D", "x", "k", padding=text("SAME"), strides=hw(2, 2)),
        node("squeeze", "Mean", "conv", "axes", keep_dims={"b": True}),
        node("scaled", "Mul", "conv", "squeeze"),
        node("joined", "ConcatV2", "scaled", "conv", "axis"),
        node("heads/score", "Sigmoid", "joined:0", "^conv"),
        node("heads/size", "Identity", "scaled"),
        node("top/k", "TopKV2", "heads/score", "top"),
        node("peaks", "Relu", "top/k:1"),
    ]
    constants = {"k": values(3, 3, 3, 4), "axes": np.int32([1, 2]), "axis": np.array(-1, np.int32)}
    return write(tmp_path, nodes, constants | {"top": np.array(100, np.int32)})


def test_the_graph_keeps_the_names_and_nothing_it_does_not_need(two_heads: Path) -> None:
    model = read_tfjs(two_heads, ["heads/score:0", "heads/size"])
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        info.name: [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "x": ["batch", 8, 8, 3],
        "heads/score": ["batch", 4, 4, 8],
        "heads/size": ["batch", 4, 4, 4],
    }
    assert [opset.version for opset in model.opset_import] == [17]
    ops = [made.op_type for made in model.graph.node]
    assert sorted(ops) == sorted(
        ["Conv", "GlobalAveragePool", "Mul", "Concat", "Sigmoid", *["Transpose"] * 3]
    )
    assert [constant.name for constant in model.graph.initializer] == ["k/oihw"]


def test_nodes_may_come_in_any_order(two_heads: Path) -> None:
    document = json.loads(two_heads.read_text())
    expected = read_tfjs(two_heads, ["heads/score"]).SerializeToString()
    document["modelTopology"]["node"].reverse()
    two_heads.write_text(json.dumps(document))
    assert read_tfjs(two_heads, ["heads/score"]).SerializeToString() == expected


def test_an_unknown_op_is_named_with_its_node(two_heads: Path) -> None:
    with pytest.raises(
        SourceError, match=r"node 'top/k' is a TopKV2, .*Choose outputs that come before it"
    ):
        read_tfjs(two_heads)


def test_an_unknown_output_is_named_with_what_is_near(two_heads: Path) -> None:
    with pytest.raises(SourceError, match=r"no node 'heads/scores'.*did you mean heads/score"):
        read_tfjs(two_heads, ["heads/scores"])


@pytest.mark.parametrize("name", ["x", "k"])
def test_an_input_or_a_constant_is_no_output(two_heads: Path, name: str) -> None:
    with pytest.raises(SourceError, match=f"'{name}' is an input or a constant"):
        read_tfjs(two_heads, [name])


def test_a_missing_shard_is_named(two_heads: Path) -> None:
    (two_heads.parent / "group1-shard1of1.bin").unlink()
    with pytest.raises(
        SourceError, match=r"cannot read group1-shard1of1\.bin, a weight shard of model\.json"
    ):
        read_tfjs(two_heads, ["conv"])


@pytest.mark.parametrize("change", [-1, 1])
def test_a_shard_of_the_wrong_length_is_refused(two_heads: Path, change: int) -> None:
    shard = two_heads.parent / "group1-shard1of1.bin"
    size = shard.stat().st_size
    shard.write_bytes((shard.read_bytes() + b"\0")[: size + change])
    with pytest.raises(
        SourceError, match=rf"{size + change} bytes, where model\.json describes {size}"
    ):
        read_tfjs(two_heads, ["conv"])


def test_a_shard_outside_the_folder_is_refused(two_heads: Path) -> None:
    two_heads.write_text(two_heads.read_text().replace("group1-shard1of1.bin", "../secret.bin"))
    with pytest.raises(SourceError, match="outside the model's own folder"):
        read_tfjs(two_heads, ["conv"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[]", "is not a TFJS graph model"),
        ('{"modelTopology": null}', "is not a TFJS graph model"),
        (
            '{"modelTopology": {"node": [{"op": "Relu"}]}}',
            "is malformed: a node or a weight lacks a field .*name",
        ),
        ('{"modelTopology": {"node": []}, "weightsManifest": [{}]}', "is malformed: .*paths"),
        (
            '{"modelTopology": {"model_config": {}}}',
            "is a TFJS layers model.*tensorflowjs_converter",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(content)
    with pytest.raises(SourceError, match=message):
        read_tfjs(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read .*nothing\.json"):
        read_tfjs(tmp_path / "nothing.json")


def test_without_a_signature_outputs_must_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, [], {})
    with pytest.raises(SourceError, match="has no signature"):
        read_tfjs(path)


CONV = {"padding": text("SAME"), "strides": hw(1, 1)}


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [node("y", "_FusedConv2D", "x", "k", "k", **CONV, fused_ops=texts("BiasAdd", "Elu"))],
            r"fuses BiasAdd \+ Elu",
        ),
        (
            [node("y", "Conv2D", "x", "k", **CONV, data_format=text("NCHW"))],
            "works on NCHW; expected NHWC",
        ),
        ([node("y", "Conv2D", "x", "k", padding=text("EXPLICIT"))], "pads EXPLICIT"),
        (
            [node("y", "Conv2D", "x", "x", **CONV)],
            "takes 'x' from a computation; expected a constant",
        ),
        (
            [node("z", "Mul", "x", "wide"), node("y", "Conv2D", "z", "k", **CONV)],
            "filters over 1 channels of 3",
        ),
        ([node("m", "Mean", "x", "axes"), node("y", "Add", "x", "m")], "expected one rank"),
        ([node("y", "Reshape", "x", "two_rows")], "expected one row for each image"),
        ([node("y", "Mul", "x", "nowhere")], "no node 'nowhere', which node 'y' asked for"),
        ([node("y", "Mul", "x", "z"), node("z", "Relu", "y")], "runs in a circle"),
    ],
)
def test_what_cannot_be_translated_is_said(
    tmp_path: Path, nodes: list[dict[str, Any]], message: str
) -> None:
    constants = {
        "k": values(1, 1, 1, 1),
        "wide": values(3),
        "axes": np.int32([1, 2]),
        "two_rows": np.int32([-1, 8]),
    }
    path = write(tmp_path, [placeholder(1, 4, 4, 1), *nodes], constants)
    with pytest.raises(SourceError, match=message):
        read_tfjs(path, ["y"])
