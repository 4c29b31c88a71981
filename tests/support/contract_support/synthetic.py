"""Models whose every answer is known beforehand, written with onnx.helper and exported like any
other.

The *dots* detector finds 4 x 4 dots of a 512 x 512 canvas: a dot's class is its strongest channel,
its score that channel / 255, its box the dot. The *pixels* classifier says every value of its crop,
so that what a classifier was shown can be read from the reply; *mean* says the mean of each
channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CANVAS = 512
CELL = 4
# Below the dots pipelines' score threshold: the two weaker channels of a dot carry its number.
_DIGIT = 40
THRESHOLD = 0.2

_UNIT = {"mean": 0, "std": 255}
DOTS: dict[str, Any] = {
    "weights": "dots.onnx",
    "labels": ["red", "green", "blue"],
    "score_threshold": THRESHOLD,
    "canvas": {"pad_value": 0},  # grey would be objects
    "normalize": _UNIT,
}
"""The detector in a pipeline file."""
SHADE: dict[str, Any] = {
    "name": "shade",  # a dot's exact colour: which crop went to which row
    "weights": "mean.onnx",
    "labels": ["red", "green", "blue"],
    "activation": "none",
    "top_k": 3,
    "crop": {"size": 4, "interpolation": "nearest"},
    "normalize": _UNIT,
}
"""A classifier in a pipeline file."""


@dataclass(frozen=True)
class Dots:
    """n dots: boxes float32 [n, 4] (xyxy, canvas pixels), colors uint8 [n, 3], each dot's different
    from all others.
    """

    boxes: NDArray[np.float32]
    colors: NDArray[np.uint8]

    @property
    def class_ids(self) -> NDArray[np.int32]:
        return self.colors.argmax(axis=1).astype(np.int32)

    @property
    def scores(self) -> NDArray[np.float32]:
        return (self.colors.max(axis=1) / 255).astype(np.float32)

    def draw(self, width: int = CANVAS, height: int = CANVAS, scale: int = 1) -> NDArray[np.uint8]:
        """RGB uint8 [height, width, 3], black where there is no dot; one canvas pixel is `scale`
        pixels.
        """
        frame = np.zeros((height, width, 3), np.uint8)
        for (x1, y1, x2, y2), color in zip(
            self.boxes.astype(int) * scale, self.colors, strict=True
        ):
            frame[y1:y2, x1:x2] = color
        return frame


def make_dots(
    count: int,
    *,
    classes: tuple[int, ...] = (0, 1, 2),
    width: int = CANVAS,
    height: int = CANVAS,
    seed: int = 0,
) -> Dots:
    """Scatter dots over a width x height corner of the canvas, best first and the last alone the
    weakest.
    """
    # Two empty cells between dots: each is a peak of its own.
    columns, rows = (
        width // CELL // 3,
        height // CELL // 3,
    )
    spots = np.random.default_rng(seed).permutation(columns * rows)[:count]
    assert len(spots) == count, "more dots than fit"
    corner = np.stack([spots % columns, spots // columns], axis=1) * CELL * 3 + CELL
    boxes = np.concatenate([corner, corner + CELL], axis=1).astype(np.float32)
    colors = np.zeros((count, 3), np.uint8)
    for i in range(count):
        strongest = classes[i % len(classes)]
        colors[i, strongest] = (
            85 if count > 1 and i == count - 1 else 255 - i * 160 // max(count, 160)
        )
        colors[i, (strongest + 1) % 3], colors[i, (strongest + 2) % 3] = i % _DIGIT, i // _DIGIT
    return Dots(boxes, colors)


def png(frame: NDArray[np.uint8]) -> bytes:
    """RGB uint8 [height, width, 3] as a PNG file."""
    return bytes(cv2.imencode(".png", frame[..., ::-1])[1].tobytes())


def write_dots_detector(path: Path) -> None:
    """Heat map: the mean of each 4 x 4 cell; distances: 0 to the left and top, 4 to the right and
    bottom.
    """
    nodes = [
        helper.make_node(
            "AveragePool", ["pixels"], ["heat"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]
        ),
        helper.make_node("ReduceMax", ["heat"], ["strongest"], axes=[1], keepdims=1),
        # [batch, 1, 128, 128], whatever the batch.
        helper.make_node("Mul", ["strongest", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "sides"], ["distances"]),
    ]
    sides = np.array([0, 0, CELL, CELL], np.float32).reshape(1, 4, 1, 1)
    cells = CANVAS // CELL
    _save(
        path,
        nodes,
        ("pixels", ["batch", 3, CANVAS, CANVAS]),
        [("heat", ["batch", 3, cells, cells]), ("distances", ["batch", 4, cells, cells])],
        {"zero": np.zeros(1, np.float32), "sides": sides},
    )


def write_mean_classifier(path: Path, gain: float = 1.0) -> None:
    """Logits: the mean of each channel times `gain`; crops of any size."""
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "gain"], ["logits"]),
    ]
    constants = {"gain": np.array([gain], np.float32)}
    _save(
        path,
        nodes,
        ("pixels", ["batch", 3, "height", "width"]),
        [("logits", ["batch", 3])],
        constants,
    )


def write_pixels_classifier(path: Path, side: int) -> None:
    """Logits: every value of a crop of side x side, row by row, channels last."""
    nodes = [helper.make_node("Flatten", ["pixels"], ["logits"], axis=1)]
    _save(
        path,
        nodes,
        ("pixels", ["batch", side, side, 3]),
        [("logits", ["batch", side * side * 3])],
        {},
    )


def read_pixels(
    ids: NDArray[np.int32], scores: NDArray[np.float32], side: int
) -> NDArray[np.float32]:
    """One row of a pixels classifier's reply, all its labels, as the image it was shown: [side,
    side, 3].
    """
    values = np.full(side * side * 3, np.nan, np.float32)
    values[ids] = scores
    return values.reshape(side, side, 3)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    source: tuple[str, list[int | str]],
    outputs: list[tuple[str, list[int | str]]],
    constants: dict[str, NDArray[np.float32]],
) -> None:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(source[0], TensorProto.FLOAT, source[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
