"""Small networks with the heads of known families: seeded random weights, and values that follow
the image.

Each cell of a grid sees the mean colours of its patch and of the patch around it, so that
neighbouring cells differ, and two images never give the same boxes. Biases are set so that a photo
has dozens of well separated detections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]


class Net:
    """Nodes of one small network over `images` [batch, 3, side, side], 0 to 1."""

    def __init__(self, side: int, seed: int = 0) -> None:
        self.side = side
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(seed)

    def op(
        self, kind: str, *inputs: str | np.ndarray, outputs: int = 1, **attributes: object
    ) -> str:
        names = []
        for value in inputs:
            if not isinstance(value, str):
                name = f"c{len(self.constants)}"
                self.constants[name] = value
                value = name
            names.append(value)
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [out], **attributes))
        return out

    def cells(self, strides: Sequence[int], columns: int, anchors: int = 1) -> str:
        """[batch, cells * anchors, columns]: random mixtures of what each cell sees,
        about -3 to 3.
        """
        levels = []
        for stride in strides:
            size, fine = self.side // stride, self.op("Sub", "images", np.float32(0.45))
            near = self.op(
                "AveragePool", fine, kernel_shape=[stride, stride], strides=[stride, stride]
            )
            wide = self.op(
                "AveragePool", near, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]
            )
            seen = self.op("Concat", near, self.op("Sub", near, wide), axis=1)
            weights = self.random.normal(0, 4, (anchors * columns, 6, 1, 1)).astype(np.float32)
            mixed = self.op("Conv", seen, weights)
            split = self.op("Reshape", mixed, np.int64([0, anchors, columns, size * size]))
            levels.append(
                self.op(
                    "Reshape",
                    self.op("Transpose", split, perm=[0, 1, 3, 2]),
                    np.int64([0, -1, columns]),
                )
            )
        return self.op("Concat", *levels, axis=1) if len(levels) > 1 else levels[0]

    def maps(self, strides: Sequence[int], channels: int) -> list[str]:
        """[batch, channels, h, w] for each stride: what `cells` gives, as convolutions lay it."""
        sizes = [self.side // stride for stride in strides]
        rows = [self.cells([stride], channels) for stride in strides]
        moved = [self.op("Transpose", each, perm=[0, 2, 1]) for each in rows]
        return [
            self.op("Reshape", each, np.int64([0, channels, size, size]))
            for each, size in zip(moved, sizes, strict=True)
        ]

    def part(self, tensor: str, start: int, stop: int) -> str:
        return self.op("Slice", tensor, np.int64([start]), np.int64([stop]), np.int64([-1]))

    def sigmoid(self, tensor: str, bias: float = 0.0) -> str:
        return self.op("Sigmoid", self.op("Add", tensor, np.float32(bias)))

    def model(self, outputs: dict[str, str], batch: int | str = "batch") -> onnx.ModelProto:
        for name, tensor in outputs.items():
            self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        graph = helper.make_graph(
            self.nodes,
            "head",
            [
                helper.make_tensor_value_info(
                    "images", TensorProto.FLOAT, [batch, 3, self.side, self.side]
                )
            ],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [
                numpy_helper.from_array(np.asarray(values), name)
                for name, values in self.constants.items()
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        # Whoever exports a graph says the shapes of its outputs; here a run says how many
        # dimensions they have.
        session = ort.InferenceSession(model.SerializeToString())
        results = session.run(None, {"images": np.zeros((1, 3, self.side, self.side), np.float32)})
        del model.graph.output[:]
        for name, values in zip(outputs, results, strict=True):
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            model.graph.output.append(
                helper.make_tensor_value_info(name, kind, [None] * values.ndim)
            )
        onnx.checker.check_model(model, full_check=True)
        return model


def grid(side: int, strides: Sequence[int], anchors: int = 1) -> Floats:
    """[cells * anchors, 3]: x, y, stride, written out cell by cell."""
    rows = [
        (x, y, stride)
        for stride in strides
        for _ in range(anchors)
        for y in range(side // stride)
        for x in range(side // stride)
    ]
    return np.array(rows, np.float32)


def pixel_boxes(net: Net, values: str, places: Floats) -> str:
    """cx, cy, w, h in pixels, from the first four columns: within two cells of their own, one to
    four cells wide.
    """
    stride = places[:, 2:]
    offset = net.op("Mul", net.op("Tanh", net.part(values, 0, 2)), np.float32(2))
    centre = net.op("Mul", net.op("Add", offset, places[:, :2] + np.float32(0.5)), stride)
    sides = net.op(
        "Mul",
        net.op("Add", net.sigmoid(net.part(values, 2, 4)), np.float32(0.3)),
        stride * np.float32(3),
    )
    return net.op("Concat", centre, sides, axis=-1)


def centernet(classes: int = 5, side: int = 256) -> onnx.ModelProto:
    """A heat map and distances to four sides, of stride 8."""
    net = Net(side, seed=4)
    (heat,), (sides,) = net.maps((8,), classes), net.maps((8,), 4)
    return net.model(
        {
            "heat": net.sigmoid(heat, -3.0),
            "sides": net.op("Abs", net.op("Mul", sides, np.float32(8))),
        }
    )


def yolov5(
    classes: int = 5, side: int = 256, strides: Sequence[int] = (8, 16, 32)
) -> onnx.ModelProto:
    net = Net(side, seed=5)
    values = net.cells(strides, 5 + classes, anchors=3)
    boxes = pixel_boxes(net, values, grid(side, strides, 3))
    return net.model(
        {
            "output": net.op(
                "Concat", boxes, net.sigmoid(net.part(values, 4, 5 + classes), -2.0), axis=-1
            )
        }
    )


def yolov8(
    classes: int = 5, side: int = 256, strides: Sequence[int] = (8, 16, 32)
) -> onnx.ModelProto:
    net = Net(side, seed=8)
    values = net.cells(strides, 4 + classes)
    boxes = pixel_boxes(net, values, grid(side, strides))
    rows = net.op("Concat", boxes, net.sigmoid(net.part(values, 4, 4 + classes), -4.0), axis=-1)
    return net.model({"output0": net.op("Transpose", rows, perm=[0, 2, 1])})


def yolov10(classes: int = 5, side: int = 256, boxes: int = 60) -> onnx.ModelProto:
    strides = (16, 32)
    net = Net(side, seed=10)
    values = net.cells(strides, 4 + classes)
    centred = pixel_boxes(net, values, grid(side, strides))
    centre, half = net.part(centred, 0, 2), net.op("Mul", net.part(centred, 2, 4), np.float32(0.5))
    corners = net.op("Concat", net.op("Sub", centre, half), net.op("Add", centre, half), axis=-1)
    scores = net.sigmoid(net.part(values, 4, 4 + classes), -4.0)
    best = net.op("ReduceMax", scores, axes=[2], keepdims=0)
    kind = net.op("Cast", net.op("ArgMax", scores, axis=2, keepdims=1), to=TensorProto.FLOAT)
    net.nodes.append(helper.make_node("TopK", [best, "k"], ["top", "rows"]))
    net.constants["k"] = np.int64([boxes])
    rows = net.op("Reshape", "rows", np.int64([0, -1, 1]))
    top = net.op("Reshape", "top", np.int64([0, -1, 1]))
    picked = [net.op("GatherND", each, rows, batch_dims=1) for each in (corners, kind)]
    return net.model({"output0": net.op("Concat", picked[0], top, picked[1], axis=-1)})


def yolox(classes: int = 5, side: int = 256, *, decoded: bool = False) -> onnx.ModelProto:
    strides = (8, 16, 32)
    net = Net(side, seed=11)
    values = net.cells(strides, 5 + classes)
    boxes = (
        pixel_boxes(net, values, grid(side, strides))
        if decoded
        else net.op("Tanh", net.part(values, 0, 4))
    )
    return net.model(
        {
            "output": net.op(
                "Concat", boxes, net.sigmoid(net.part(values, 4, 5 + classes), -2.0), axis=-1
            )
        }
    )


def nanodet(
    classes: int = 5, side: int = 256, strides: Sequence[int] = (8, 16, 32, 64)
) -> onnx.ModelProto:
    """One output, classes and 4 x 8 bins."""
    net = Net(side, seed=12)
    values = net.cells(strides, classes + 32)
    scores = net.sigmoid(net.part(values, 0, classes), -4.0)
    return net.model(
        {"output": net.op("Concat", scores, net.part(values, classes, classes + 32), axis=-1)}
    )


def picodet(classes: int = 5, side: int = 256) -> onnx.ModelProto:
    """Scores and 4 x 8 bins of each of four levels, named as Paddle2ONNX names them."""
    net = Net(side, seed=19)
    outputs = {}
    for level, stride in enumerate((8, 16, 32, 64)):
        values = net.cells([stride], classes + 32)
        outputs[f"transpose_{2 * level}.tmp_0"] = net.sigmoid(net.part(values, 0, classes), -4.0)
        outputs[f"transpose_{2 * level + 1}.tmp_0"] = net.part(values, classes, classes + 32)
    return net.model(outputs)


def _yolov8_with(
    more: Callable[[Net, str, Floats], str], classes: int, side: int, seed: int
) -> tuple[Net, str]:
    """A net and its rows [B, cells, 4 + classes + more]."""
    strides = (8, 16, 32)
    net = Net(side, seed=seed)
    values, places = net.cells(strides, 4 + classes + 6), grid(side, strides)
    scores = net.sigmoid(net.part(values, 4, 4 + classes), -4.0)
    rest = more(net, net.part(values, 4 + classes, 10 + classes), places)
    return net, net.op("Concat", pixel_boxes(net, values, places), scores, rest, axis=-1)


def yolov8_masks(classes: int = 5, side: int = 256) -> onnx.ModelProto:
    """Six mask coefficients a cell, and six prototypes."""
    net, rows = _yolov8_with(lambda net, rest, places: rest, classes, side, seed=20)
    (prototypes,) = net.maps((4,), 6)
    return net.model({"output0": net.op("Transpose", rows, perm=[0, 2, 1]), "output1": prototypes})


def yolov8_keypoints(classes: int = 5, side: int = 256) -> onnx.ModelProto:
    """Two keypoints a cell: x, y in pixels, visibility."""

    def points(net: Net, rest: str, places: Floats) -> str:
        pixels = places[:, :2] * places[:, 2:]
        parts = []
        for first in (0, 3):
            parts.append(net.op("Add", net.part(rest, first, first + 2), pixels))
            parts.append(net.sigmoid(net.part(rest, first + 2, first + 3)))
        return net.op("Concat", *parts, axis=-1)

    net, rows = _yolov8_with(points, classes, side, seed=21)
    return net.model({"output0": net.op("Transpose", rows, perm=[0, 2, 1])})


def boxes_and_scores(
    shape: Callable[[Net, str, str], dict[str, str]], classes: int = 5, side: int = 256
) -> onnx.ModelProto:
    """Centres and sides as fractions [B, N, 4], scores [B, N, C], put into outputs by `shape`."""
    strides = (16, 32)
    net = Net(side, seed=13)
    values = net.cells(strides, 4 + classes)
    boxes = net.op("Div", pixel_boxes(net, values, grid(side, strides)), np.float32(side))
    return net.model(shape(net, boxes, net.sigmoid(net.part(values, 4, 4 + classes), -3.0)))


PYRAMID = (8, 16, 32, 64, 128)


def retinanet(classes: int = 5, side: int = 256) -> onnx.ModelProto:
    """Logits and deltas of each level, nine anchors a cell."""
    net = Net(side, seed=14)
    scores = [net.op("Sub", each, np.float32(8)) for each in net.maps(PYRAMID, 9 * classes)]
    deltas = [net.op("Mul", each, np.float32(0.1)) for each in net.maps(PYRAMID, 36)]
    named = {f"cls_{level}": each for level, each in enumerate(scores)}
    return net.model(named | {f"box_{level}": each for level, each in enumerate(deltas)})


def fcos(classes: int = 5, side: int = 256) -> onnx.ModelProto:
    """Logits, distances and centerness of each level."""
    net = Net(side, seed=15)
    levels = zip(
        net.maps(PYRAMID, classes), net.maps(PYRAMID, 4), net.maps(PYRAMID, 1), strict=True
    )
    named = {}
    for level, (scores, sides, central) in enumerate(levels):
        named[f"cls_{level}"] = net.op("Sub", scores, np.float32(4))
        named[f"reg_{level}"] = net.op("Add", net.sigmoid(sides), np.float32(0.5))
        named[f"ctr_{level}"] = central
    return net.model(named)


def ssd_anchors(side: int = 256) -> Floats:
    """Two a cell of strides 16 and 32: a square of two strides,
    and one as wide and half as high.
    """
    rows = []
    for x, y, stride in grid(side, (16, 32), 2):
        cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
        height = stride if len(rows) % 2 else stride / 2
        rows.append((cx - stride, cy - height, cx + stride, cy + height))
    return np.array(rows, np.float32)


def ssd(classes: int = 5, side: int = 256, *, softmax: bool = False) -> onnx.ModelProto:
    """Deltas and logits of `ssd_anchors`, the background first; or after the softmax, as Caffe's
    exports.
    """
    net = Net(side, seed=16)
    values = net.cells((16, 32), 5 + classes, anchors=2)
    scores = net.op("Mul", net.part(values, 4, 5 + classes), np.float32(2))
    if softmax:
        scores = net.op("Softmax", scores, axis=-1)
    return net.model({"scores": scores, "boxes": net.part(values, 0, 4)})


def detr(classes: int = 5, side: int = 256, *, softmax: bool = True) -> onnx.ModelProto:
    """Logits and boxes of as many queries as two grids have cells;
    a softmax has "no object" last.
    """
    net = Net(side, seed=17)
    columns = classes + softmax
    values = net.cells((16, 32), 4 + columns)
    boxes = net.op("Div", pixel_boxes(net, values, grid(side, (16, 32))), np.float32(side))
    boxes = net.op("Clip", boxes, np.float32(0), np.float32(1))
    logits = net.part(values, 4, 4 + columns)
    return net.model(
        {"logits": logits if softmax else net.op("Sub", logits, np.float32(4)), "pred_boxes": boxes}
    )


def faster_rcnn(classes: int = 5, side: int = 256) -> onnx.ModelProto:
    """The best class of each box, labels from 1, as many rows as there are scores above 0.1; for
    one image.
    """
    net = Net(side, seed=18)
    values = net.cells((16, 32), 4 + classes)
    boxes = net.op("MatMul", pixel_boxes(net, values, grid(side, (16, 32))), _TO_CORNERS)
    scores = net.sigmoid(net.part(values, 4, 4 + classes), -3.0)
    best = net.op("Reshape", net.op("ReduceMax", scores, axes=[2], keepdims=0), np.int64([-1]))
    kind = net.op("Reshape", net.op("ArgMax", scores, axis=2, keepdims=0), np.int64([-1]))
    kept = net.op(
        "Reshape", net.op("NonZero", net.op("Greater", best, np.float32(0.1))), np.int64([-1])
    )
    flat = net.op("Reshape", boxes, np.int64([-1, 4]))
    named = {"boxes": flat, "labels": net.op("Add", kind, np.int64(1)), "scores": best}
    return net.model(
        {name: net.op("Gather", each, kept, axis=0) for name, each in named.items()}, batch=1
    )


_TO_CORNERS = np.float32([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
