"""What each TFJS op is in ONNX: a table of short functions,
from an op's name to its translation.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from onnx import helper

from boxwise_export.checkpoints.tfjs_graph import TO_NCHW, Constant, Dim, Graph, Node, Tensor
from boxwise_export.errors import SourceError


def _placeholder(graph: Graph, node: Node) -> Tensor:
    dtype = node.attributes.get("dtype", {}).get("type", "DT_FLOAT")
    if dtype not in ("DT_FLOAT", 1):
        raise SourceError(f"the input '{node.name}' is {dtype}; expected DT_FLOAT")
    shape = node.attributes.get("shape", {}).get("shape", {})
    if not shape.get("dim"):
        raise SourceError(
            f"the input '{node.name}' has no shape; freeze the graph with one, such as [-1, "
            "512, 512, 3]"
        )
    sizes = [int(dim.get("size", -1)) for dim in shape["dim"][1:]]
    return graph.input(node.name, ["batch", *(size if size > 0 else None for size in sizes)])


def _const(graph: Graph, node: Node) -> Constant:
    if node.name not in graph.weights:
        raise SourceError(f"the constant '{node.name}' is not in the weights manifest")
    return Constant(node.name, graph.weights[node.name])


def _identity(graph: Graph, node: Node) -> Tensor | Constant:
    return graph.values[node.inputs[0]]


def _activation(op: str, graph: Graph, node: Node) -> Tensor:
    return _activate(graph, op, graph.tensor(node, 0), node.name)


def _activate(graph: Graph, op: str, x: Tensor, name: str) -> Tensor:
    if op != "Relu6":
        return graph.emit(op, [x.name], name, x.shape)
    bounds = [graph.initializer(f"relu6/{bound}", np.array(bound, np.float32)) for bound in (0, 6)]
    return graph.emit("Clip", [x.name, *bounds], name, x.shape)


def _elementwise(op: str, graph: Graph, node: Node) -> Tensor:
    rank = max(len(graph.values[name].shape) for name in node.inputs)
    a, b = (graph.tensor(node, index, rank) for index in (0, 1))
    if rank == 4 and not {len(a.shape), len(b.shape)} <= {0, 4}:
        raise SourceError(
            f"{node.op} '{node.name}' joins '{a.name}' {a.shape} and '{b.name}' {b.shape}; "
            "expected one rank"
        )
    shapes = ((1,) * (rank - len(x.shape)) + x.shape for x in (a, b))
    shape = [n if m == 1 else m for m, n in zip(*shapes, strict=True)]
    return graph.emit(op, [a.name, b.name], node.name, shape)


def _conv(graph: Graph, node: Node, *, depthwise: bool) -> Tensor:
    x, kernel, fused = graph.tensor(node, 0), graph.array(node, 1), node.texts("fused_ops")
    height, width, channels, _ = kernel.shape
    if x.shape[3] not in (None, channels):
        raise SourceError(
            f"{node.op} '{node.name}' has filters over {channels} channels of {x.shape[3]}; "
            "grouped ones are not read"
        )
    if fused not in ([], ["BiasAdd"], ["BiasAdd", "Relu"], ["BiasAdd", "Relu6"]):
        raise SourceError(
            f"{node.op} '{node.name}' fuses {' + '.join(fused)}; expected BiasAdd, then "
            "Relu or Relu6 if any"
        )
    size, window = _window(node, x, (height, width))
    if depthwise:  # HWCM, output channel c * M + m -> (C * M)1HW
        weights, group = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, height, width), channels
    else:  # HWIO -> OIHW
        weights, group = kernel.transpose(3, 2, 0, 1), 1
    inputs = [x.name, graph.initializer(f"{node.inputs[1]}/oihw", weights)]
    if fused:
        inputs.append(graph.initializer(node.inputs[2], graph.array(node, 2)))
    shape = [x.shape[0], *size, len(weights)]
    if len(fused) < 2:
        return graph.emit("Conv", inputs, node.name, shape, group=group, **window)
    linear = graph.emit("Conv", inputs, f"{node.name}/linear", shape, group=group, **window)
    return _activate(graph, fused[1], linear, node.name)


def _max_pool(graph: Graph, node: Node) -> Tensor:
    x = graph.tensor(node, 0)
    size, window = _window(node, x, node.spatial("ksize"))
    return graph.emit("MaxPool", [x.name], node.name, [x.shape[0], *size, x.shape[3]], **window)


def _window(node: Node, x: Tensor, kernel: Sequence[int]) -> tuple[list[Dim], dict[str, Any]]:
    """The output's height and width, and the ONNX attributes, of a window that slides over `x`.

    The pads are explicit: ONNX Runtime refuses SAME_UPPER with dilations, and in a MaxPool with a
    stride over its kernel (the 1x1, stride 2 shortcut of a ResNet).
    """
    strides, dilations, padding = (
        node.spatial("strides"),
        node.spatial("dilations"),
        node.text("padding"),
    )
    if padding not in ("SAME", "VALID"):
        raise SourceError(f"{node.op} '{node.name}' pads {padding}; expected SAME or VALID")
    size: list[Dim] = []
    totals = []
    for n, k, s, d in zip(x.shape[1:3], kernel, strides, dilations, strict=True):
        reach = (k - 1) * d + 1
        if padding == "VALID":
            totals.append(0)
        elif isinstance(n, int):
            totals.append(max((math.ceil(n / s) - 1) * s + reach - n, 0))
        elif s == 1:
            totals.append(reach - 1)
        else:
            raise SourceError(
                f"{node.op} '{node.name}' pads an unknown size; freeze the graph with a "
                "fixed input size"
            )
        size.append((n + totals[-1] - reach) // s + 1 if isinstance(n, int) else None)
    # TensorFlow halves what has to be padded; an odd pixel goes to the bottom or right.
    pads = [total // 2 for total in totals] + [total - total // 2 for total in totals]
    return size, {
        "kernel_shape": list(kernel),
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
    }


def _mean(graph: Graph, node: Node) -> Tensor:
    x, keep = graph.tensor(node, 0), node.flag("keep_dims")
    axes = sorted({int(axis) % len(x.shape) for axis in graph.array(node, 1).flat})
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    shape = [1 if axis in axes else n for axis, n in enumerate(x.shape) if keep or axis in kept]
    if len(x.shape) == 4 and axes == [1, 2] and keep:
        return graph.emit("GlobalAveragePool", [x.name], node.name, shape)
    onnx_axes = [_axis(x, axis) for axis in axes]
    if keep or kept == sorted(kept, key=lambda axis: _axis(x, axis)):
        return graph.emit(
            "ReduceMean", [x.name], node.name, shape, axes=onnx_axes, keepdims=int(keep)
        )
    # What is left would come out in NCHW's order.
    source = graph.in_tf_layout(x, f"{node.name}/nhwc")
    return graph.emit("ReduceMean", [source], node.name, shape, axes=axes, keepdims=0)


def _concat(graph: Graph, node: Node) -> Tensor:
    parts = [graph.tensor(node, index) for index in range(len(node.inputs) - 1)]
    axis = int(graph.array(node, len(parts))) % len(parts[0].shape)
    sizes = [size for part in parts if isinstance(size := part.shape[axis], int)]
    shape = list(parts[0].shape)
    shape[axis] = sum(sizes) if len(sizes) == len(parts) else None
    return graph.emit(
        "Concat", [part.name for part in parts], node.name, shape, axis=_axis(parts[0], axis)
    )


def _resize_bilinear(graph: Graph, node: Node) -> Tensor:
    x, target = graph.tensor(node, 0), [int(size) for size in graph.array(node, 1)]
    sizes = [size for size in x.shape[1:3] if isinstance(size, int)]
    if len(sizes) != 2:
        raise SourceError(
            f"ResizeBilinear '{node.name}' enlarges an unknown size; freeze the graph with "
            "a fixed input size"
        )
    mode = "align_corners" if node.flag("align_corners") else "asymmetric"
    mode = "half_pixel" if node.flag("half_pixel_centers") else mode
    # Scales, since `sizes` would need the batch too, which is free; constant ones also let the
    # runtime fuse layouts.
    scales = np.array([1, 1, *map(_scale, sizes, target)], np.float32)
    inputs = [x.name, "", graph.initializer(f"{node.name}/scales", scales)]
    shape = [x.shape[0], *target, x.shape[3]]
    return graph.emit(
        "Resize", inputs, node.name, shape, mode="linear", coordinate_transformation_mode=mode
    )


def _scale(size: int, target: int) -> np.float32:
    """The least float32 scale that takes `size` to `target` by ONNX's rule, floor(size * scale)."""
    scale = np.float32(target / size)
    return scale if size * float(scale) >= target else np.nextafter(scale, np.float32(np.inf))


def _reshape(graph: Graph, node: Node) -> Tensor:
    x, target = graph.tensor(node, 0), [int(size) for size in graph.array(node, 1)]
    row = [size for size in x.shape[1:] if isinstance(size, int)]
    shape = target[1:]
    if -1 in shape:
        shape[shape.index(-1)] = math.prod(row) // -math.prod(shape)
    if not target or len(row) + 1 != len(x.shape) or math.prod(shape) != math.prod(row):
        raise SourceError(
            f"Reshape '{node.name}' takes {x.shape} to {target}; expected one row for each "
            "image of the batch"
        )
    source = graph.in_tf_layout(x, f"{node.name}/nhwc")
    inputs = [source, graph.initializer(f"{node.name}/shape", np.array([-1, *shape], np.int64))]
    if len(shape) < 3:
        return graph.emit("Reshape", inputs, node.name, [x.shape[0], *shape])
    graph.nodes.append(
        helper.make_node("Reshape", inputs, [f"{node.name}/shaped"], f"{node.name}/shaped")
    )
    return graph.emit(
        "Transpose", [f"{node.name}/shaped"], node.name, [x.shape[0], *shape], perm=TO_NCHW
    )


def _axis(x: Tensor, axis: int) -> int:
    """Where TensorFlow's axis lies in the ONNX tensor."""
    return TO_NCHW.index(axis) if len(x.shape) == 4 else axis


OPS: Mapping[str, Callable[[Graph, Node], Tensor | Constant]] = {
    "Add": partial(_elementwise, "Add"),
    "AddV2": partial(_elementwise, "Add"),
    "ConcatV2": _concat,
    "Const": _const,
    "Conv2D": partial(_conv, depthwise=False),
    "DepthwiseConv2dNative": partial(_conv, depthwise=True),
    "FusedDepthwiseConv2dNative": partial(_conv, depthwise=True),
    "Identity": _identity,
    "MaxPool": _max_pool,
    "Mean": _mean,
    "Mul": partial(_elementwise, "Mul"),
    "Placeholder": _placeholder,
    "Relu": partial(_activation, "Relu"),
    "Relu6": partial(_activation, "Relu6"),
    "Reshape": _reshape,
    "ResizeBilinear": _resize_bilinear,
    "Sigmoid": partial(_activation, "Sigmoid"),
    "Sub": partial(_elementwise, "Sub"),
    "_FusedConv2D": partial(_conv, depthwise=False),
}
