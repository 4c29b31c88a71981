"""A source: a checkpoint as an ONNX graph, with its metadata and its framework's own processing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from boxwise_export.graphs.large_models import open_graph
from boxwise_export.graphs.source import read_input
from boxwise_export.pipeline import Activation, Background, Normalize
from boxwise_runtime.canvas import ColorOrder, Interpolation, Resize
from boxwise_runtime.session import OnnxGraph

Floats = NDArray[np.float32]
# A batch of normalised images in the graph's own layout -> its outputs, by their ONNX names.
Run = Callable[[Floats], Mapping[str, Floats]]


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the graph's input, from the source's metadata; None where that is
    silent.

    Attributes:
        size: height and width of the input, pixels.
        resize: how an image is placed on it.
        resize_shorter: of a classifier: the shorter side is resized to this, then the centre is
            cut.
        pad_value: 0 to 255.
        interpolation: how pixels between pixels are found.
        color_order: of the channels.
        normalize: in units of 0 to 255.
    """

    size: tuple[int, int] | None = None
    resize: Resize | None = None
    resize_shorter: int | None = None
    pad_value: int | None = None
    interpolation: Interpolation | None = None
    color_order: ColorOrder | None = None
    normalize: Normalize | None = None


class Detections(NamedTuple):
    """Detections of one image: boxes float32 [n, 4] (xyxy, pixels of the image), scores [n],
    class_ids int [n].
    """

    boxes: Floats
    scores: Floats
    class_ids: NDArray[np.int64]


class Selection(NamedTuple):
    """The parameters of a framework's own post-processing.

    `score` and `iou` are thresholds, `most` is the maximum number of detections; for the others see
    `pipeline.Nms`.
    """

    score: float
    iou: float
    most: int
    multi_label: bool = True
    class_agnostic: bool = False


Detect = Callable[[Mapping[str, Floats], tuple[int, int], Selection], Detections]


@dataclass(frozen=True)
class Metadata:
    """Metadata of a checkpoint, besides its preprocessing and its labels.

    Attributes:
        task: as ultralytics names it: detect, classify, segment, pose, obb.
        author: of the weights.
        description: of the weights.
        stride: the largest of the network, pixels.
    """

    task: str | None = None
    author: str | None = None
    description: str | None = None
    stride: str | None = None


@dataclass(frozen=True)
class Source:
    """A checkpoint, read.

    Attributes:
        model: the graph; its one input is normalised images.
        run: the same network in its own framework (for ONNX files: ONNX Runtime on the untouched
            graph).
        origin: what read it, with its version: "ONNX file", "torchvision 0.29.1
            ssdlite320_mobilenet_v3_large".
        digest: SHA-256 of the weights, hex.
        licence: of the weights, if known; a sentence.
        family: of the detector, if the framework names it; one of FAMILIES.
        labels: names of the classes by id, if known.
        preprocessing: from the metadata.
        anchors: float32 [N, 4], xyxy in pixels of the input, if the detector has them.
        activation: of the class columns, if the framework names it.
        background: the class column that is no object, likewise.
        metadata: the rest.
        prepare: the framework's own preprocessing, if any: RGB uint8 [H, W, 3] -> input of `run`,
            batch 1.
        detect: the framework's own post-processing, if any: (outputs of `run` for one image, height
            and width of that image, `Selection`) -> Detections.
        selects: whether `detect` supports multi_label and class_agnostic.
    """

    model: onnx.ModelProto
    run: Run
    origin: str
    digest: str
    licence: str | None = None
    family: str | None = None
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    anchors: Floats | None = None
    activation: Activation | None = None
    background: Background | None = None
    metadata: Metadata = field(default_factory=Metadata)
    prepare: Callable[[NDArray[np.uint8]], Floats] | None = None
    detect: Detect | None = None
    selects: bool = False


def from_unit(mean: Sequence[float], std: Sequence[float]) -> Normalize:
    """Convert statistics of pixels of 0 to 1, as frameworks write them, to ours of 0 to 255."""
    red, green, blue = (255 * value for value in mean)
    red_std, green_std, blue_std = (255 * value for value in std)
    return Normalize(mean=(red, green, blue), std=(red_std, green_std, blue_std))


def onnx_run(model: onnx.ModelProto) -> Run:
    """Return a function that runs the graph in ONNX Runtime; the first call opens the session and
    releases the graph.
    """
    waiting, sessions = [model], list[OnnxGraph]()
    source = read_input(model)

    def run(images: Floats) -> Mapping[str, Floats]:
        if waiting:
            sessions.append(open_graph(waiting.pop()))
        outputs = sessions[0]({source.name: source.as_input(images)})
        return {key: np.asarray(value, np.float32) for key, value in outputs.items()}

    return run


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder with their names."""
    if path.is_dir():
        total = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            total.update(f"{file.relative_to(path)}\0{file_digest(file)}\n".encode())
        return total.hexdigest()
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
