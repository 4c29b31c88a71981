"""The stages of the pipeline: pure functions from named tensors to named tensors, without Triton.

    image -> Preprocess -> frame, canvas, geometry, thresholds, class_filter
    canvas -> OnnxStage (detector) -> candidate_boxes, candidate_scores, candidate_classes
    candidates + frame -> Suppress -> boxes, scores, class_ids, image_size,
                                      <classifier>_crops, <classifier>_rows
    crops -> OnnxStage (classifier) -> label_ids, label_scores
    rows + labels -> Assemble -> <classifier>_ids, <classifier>_scores

Without a detector, WholePicture replaces the first three. Each field of a stage is a parameter of
its Triton model (`parameters.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from boxwise_contract.limits import ImageLimits
from boxwise_contract.options import Thresholds, read_class_filter
from boxwise_contract.refusals import InvalidInput
from boxwise_contract.tensors import Tensors
from boxwise_runtime.canvas import (
    ColorOrder,
    Geometry,
    Interpolation,
    Resize,
    decoded_scale,
    draw,
    fit,
    to_image,
)
from boxwise_runtime.crop import CropSpec, crop
from boxwise_runtime.decode import EncodedImage, decode
from boxwise_runtime.nms import suppress
from boxwise_runtime.session import OnnxGraph

CANDIDATES = ("candidate_boxes", "candidate_scores", "candidate_classes")
"""The outputs of a detector's graph."""

LABELS = ("label_ids", "label_scores")
"""The outputs of a classifier's graph."""


class Stage(Protocol):
    """Named tensors in, named tensors out; raises InvalidInput if the request is wrong."""

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]: ...


@dataclass
class Preprocess(ImageLimits):
    """Read the request: decode the image to a frame and a canvas, check the options and fill in the
    defaults.

    Every invalid request is rejected here, before a network runs.

    Attributes:
        canvas_height: of the detector's input, pixels.
        canvas_width: of the detector's input, pixels.
        resize: how the image is placed on the canvas.
        pad_value: 0 to 255, the grey around it.
        interpolation: of the resize.
        color_order: of the canvas's channels.
        class_count: number of the detector's classes.
        score_threshold: the default.
        iou_threshold: the default.
        max_detections: the default and the maximum.
        scaled_decoding: whether a JPEG at least twice as large as the canvas is decoded at a
            fraction of its size; the frame is then smaller than the image.
    """

    canvas_height: int
    canvas_width: int
    resize: Resize
    pad_value: int
    interpolation: Interpolation
    color_order: ColorOrder
    class_count: int
    score_threshold: float
    iou_threshold: float
    max_detections: int
    scaled_decoding: bool = False

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Read `image` uint8 [bytes] or `raw_frame` uint8 [H, W, 3], and the options.

        Returns:
            frame: uint8 [H, W, 3]
            canvas: uint8 [1, canvas_height, canvas_width, 3]
            geometry: float32 [6], see `canvas.Geometry`
            thresholds: float32 [3], see `Thresholds.pack`
            class_filter: int32 [f], empty for all
            decode_seconds: float64 [], for `metrics`
        """
        defaults = Thresholds(self.score_threshold, self.iou_threshold, self.max_detections)
        thresholds = defaults.read(inputs)
        class_filter = read_class_filter(inputs, self.class_count)
        start = time.perf_counter()
        frame, geometry = self._read(inputs)
        decode_seconds = time.perf_counter() - start
        canvas = np.empty((1, self.canvas_height, self.canvas_width, 3), np.uint8)
        draw(
            frame,
            geometry,
            canvas[0],
            pad_value=self.pad_value,
            interpolation=self.interpolation,
            color_order=self.color_order,
        )
        return {
            "frame": frame,
            "canvas": canvas,
            "geometry": np.array(geometry, np.float32),
            "thresholds": thresholds.pack(),
            "class_filter": class_filter,
            "decode_seconds": np.array(decode_seconds),
        }

    def _read(self, inputs: Tensors) -> tuple[NDArray[np.uint8], Geometry]:
        """Return the frame, and where the image lies on the canvas."""
        if self.scaled_decoding and "raw_frame" not in inputs and "image" in inputs:
            file = EncodedImage(inputs["image"], self)
            if file.scalable:
                geometry = self._fit(*file.size)
                return file.pixels(decoded_scale(geometry)), geometry
        frame = read_frame(inputs, self)
        return frame, self._fit(*frame.shape[:2])

    def _fit(self, height: int, width: int) -> Geometry:
        return fit(height, width, self.canvas_height, self.canvas_width, self.resize)


@dataclass
class WholePicture(ImageLimits):
    """The one box of a pipeline without a detector: the whole image, class -1, score 1.

    Attributes:
        crops: classifier -> fields of its `Crop`.
    """

    crops: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        self._croppers = {name: Crop(**fields) for name, fields in self.crops.items()}

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Turn the inputs of Preprocess into what Suppress returns, and decode_seconds."""
        Thresholds(score_threshold=0, iou_threshold=0, max_detections=1).read(inputs)
        read_class_filter(inputs, class_count=0)
        start = time.perf_counter()
        frame = read_frame(inputs, self)
        decode_seconds = time.perf_counter() - start
        height, width = frame.shape[:2]
        image = {
            "boxes": np.array([[0, 0, width, height]], np.float32),
            "scores": np.ones(1, np.float32),
            "class_ids": np.full(1, -1, np.int32),
            "rows": np.zeros(1, np.int32),
            "image_size": np.array([height, width], np.int32),
            "dropped": np.array(0),
            "decode_seconds": np.array(decode_seconds),
        }
        return image | _crops(self._croppers, frame, image)


@dataclass
class OnnxStage:
    """A network, detector or classifier: one ONNX graph on the CPU.

    Attributes:
        folder: holds `model.onnx`.
        threads: of one run.
        chunk: maximum rows of one run.
    """

    folder: Path
    threads: int
    chunk: int

    def __post_init__(self) -> None:
        self.graph = OnnxGraph(self.folder / "model.onnx", threads=self.threads, chunk=self.chunk)

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Turn `canvas` into candidates, or `crops` into labels; the graph has these names."""
        return self.graph(inputs)


@dataclass
class Suppress:
    """Turn candidates into detections: thresholds, class filter, NMS, pixels of the image; and cut
    their crops.

    Attributes:
        nms: whether to suppress; a detector that returns one box per object needs no NMS.
        class_agnostic: whether a box suppresses boxes of every class, or of its own only.
        crops: classifier -> fields of its `Crop`.
    """

    nms: bool
    class_agnostic: bool = False
    crops: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._croppers = {name: Crop(**fields) for name, fields in self.crops.items()}

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Take candidates float32 [1, K, 4], float32 [1, K], int32 [1, K], and what Preprocess
        returned but the canvas.

        Returns:
            boxes: float32 [n, 4], xyxy, pixels of the image, best score first
            scores: float32 [n]
            class_ids: int32 [n]
            rows: int32 [n], 0 to n - 1
            image_size: int32 [2], height, width
            dropped: int64 [], detections beyond `max_detections`, for `metrics`
            c_crops, c_rows: for each classifier c, see `Crop`
        """
        thresholds = Thresholds.unpack(inputs["thresholds"])
        geometry = Geometry(*inputs["geometry"].tolist())
        scores, class_ids = inputs["candidate_scores"][0], inputs["candidate_classes"][0]
        wanted = scores >= thresholds.score_threshold
        if inputs["class_filter"].size:
            wanted &= np.isin(class_ids, inputs["class_filter"])
        canvas_boxes, scores, class_ids = (
            inputs["candidate_boxes"][0][wanted],
            scores[wanted],
            class_ids[wanted],
        )
        boxes = to_image(canvas_boxes, geometry)
        # Boxes wholly in the padding have no area in the image.
        seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        canvas_boxes, boxes, scores, class_ids = (
            canvas_boxes[seen],
            boxes[seen],
            scores[seen],
            class_ids[seen],
        )
        if self.nms:
            groups = np.zeros_like(class_ids) if self.class_agnostic else class_ids
            found = suppress(canvas_boxes, scores, groups, thresholds.iou_threshold)
        else:
            found = np.argsort(-scores, kind="stable")
        kept = found[: thresholds.max_detections]
        detections = {
            "boxes": boxes[kept],
            "scores": scores[kept],
            "class_ids": class_ids[kept],
            "rows": np.arange(len(kept), dtype=np.int32),
            "image_size": np.array([geometry.height, geometry.width], np.int32),
            "dropped": np.array(len(found) - len(kept)),
        }
        return detections | _crops(self._croppers, inputs.get("frame"), detections)


@dataclass(frozen=True)
class Crop(CropSpec):
    """Cut the boxes that one classifier runs on out of the frame.

    Attributes:
        only: the detector classes that it runs on; empty for all.
    """

    only: tuple[int, ...] = ()

    def __call__(
        self, frame: NDArray[np.uint8], boxes: NDArray[np.float32], class_ids: NDArray[np.int32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Take a frame uint8 [H, W, 3], boxes float32 [n, 4], class_ids int32 [n].

        Returns:
            crops: uint8 [max(m, 1), height, width, 3]; a blank crop for m = 0, since Triton rejects
                a batch of 0
            rows: int32 [m], the rows of their boxes
        """
        rows = (
            np.flatnonzero(np.isin(class_ids, self.only))
            if self.only
            else np.arange(len(class_ids))
        )
        crops = (
            crop(frame, boxes[rows], self)
            if len(rows)
            else np.zeros((1, self.height, self.width, 3), np.uint8)
        )
        return crops, rows.astype(np.int32)


def _crops(
    croppers: Mapping[str, Crop], frame: NDArray[np.uint8] | None, detections: Tensors
) -> dict[str, NDArray[Any]]:
    """Return `<classifier>_crops` and `<classifier>_rows` of every classifier."""
    if frame is None:  # without classifiers it is not sent
        return {}
    outputs: dict[str, NDArray[Any]] = {}
    for name, cropper in croppers.items():
        crops, rows = cropper(frame, detections["boxes"], detections["class_ids"])
        outputs |= {f"{name}_crops": crops, f"{name}_rows": rows}
    return outputs


@dataclass(frozen=True)
class Assemble:
    """Put the labels of each classifier into the rows of the boxes that it ran on.

    Attributes:
        classifiers: their names.
    """

    classifiers: tuple[str, ...]

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Take `rows` int32 [n], and of each classifier c `c_rows` [m], `c_label_ids` and
        `c_label_scores` [max(m, 1), k].

        Returns:
            c_ids: int32 [n, k], -1 where c did not run
            c_scores: float32 [n, k], 0 where c did not run
        """
        count = len(inputs["rows"])
        outputs: dict[str, NDArray[Any]] = {}
        for name in self.classifiers:
            rows, label_ids, label_scores = (
                inputs[f"{name}_{part}"] for part in ("rows", "label_ids", "label_scores")
            )
            ids = np.full((count, label_ids.shape[1]), -1, np.int32)
            scores = np.zeros(ids.shape, np.float32)
            ids[rows], scores[rows] = label_ids[: len(rows)], label_scores[: len(rows)]
            outputs |= {f"{name}_ids": ids, f"{name}_scores": scores}
        return outputs


@dataclass(frozen=True)
class Info:
    """The document that describes the pipeline.

    Attributes:
        folder: holds `info.json`.
    """

    folder: Path

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]:  # noqa: ARG002 - it has no inputs
        """Return `info`, bytes [1]: one JSON document."""
        document = (self.folder / "info.json").read_bytes()
        return {"info": np.array([document], np.object_)}


def read_frame(inputs: Tensors, limits: ImageLimits) -> NDArray[np.uint8]:
    """Return the image of a request, uint8 [H, W, 3] RGB: `image` decoded, or `raw_frame`.

    Raises:
        InvalidInput: it cannot be decoded, or exceeds `limits`.
    """
    raw = inputs.get("raw_frame")
    if raw is not None:
        limits.check_size("frame", raw.shape[0], raw.shape[1])
        return raw
    if "image" not in inputs:
        raise InvalidInput(
            "image: missing; send the bytes of a JPEG, PNG, WebP or BMP file, "
            "or to the raw ensemble `frame`, RGB pixels [height, width, 3]",
            "empty",
        )
    return decode(inputs["image"], limits)
