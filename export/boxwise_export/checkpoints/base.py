"""What a source is: a checkpoint as an ONNX graph, and all that its own framework says and does
about it.
"""

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
# A batch of normalised images in the graph's own layout -> its outputs by the names that they have
# in ONNX.
Run = Callable[[Floats], Mapping[str, Floats]]


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the graph's input, as the source's metadata has it; None where it does
    not say.

    Attributes:
        size: height and width of the input, pixels.
        resize: how an image is laid on it.
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
    """Which of a detector's boxes are kept: what a framework's own post-processing is asked for.

    `score` and `iou` are thresholds, `most` the number of detections at most; the others as in
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
    """What a checkpoint says of itself, beyond its preprocessing and its labels.

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
        model: the graph; one input, images as its framework takes them after normalisation.
        run: the same network in its own framework (ONNX Runtime on the untouched graph, where it
            came as one).
        origin: what read it, with its version: "ONNX file", "torchvision 0.29.1
            ssdlite320_mobilenet_v3_large".
        digest: SHA-256 of the weights, hex.
        licence: of the weights, where it is known; as a sentence.
        family: of the detector, where the framework says it; one of FAMILIES.
        labels: names of the classes in the order of the ids that the decoded graph gives, where
            they are known.
        preprocessing: what the metadata says of it.
        anchors: float32 [N, 4], xyxy in pixels of the input, where the detector has them.
        activation: what makes scores of the class columns, where the framework says it.
        background: which class column is no object, likewise.
        metadata: what else the checkpoint says of itself.
        prepare: the framework's own preprocessing, where it has one: RGB uint8 [H, W, 3] -> input
            of `run`, batch 1.
        detect: the framework's own post-processing: (outputs of `run` for one image, height and
            width of that image, which boxes are kept) -> Detections; where it has one.
        selects: whether `detect` can do without multi_label and be class_agnostic.
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
    """Statistics of pixels of 0 to 1, as frameworks write them, in ours of 0 to 255."""
    red, green, blue = (255 * value for value in mean)
    red_std, green_std, blue_std = (255 * value for value in std)
    return Normalize(mean=(red, green, blue), std=(red_std, green_std, blue_std))


def onnx_run(model: onnx.ModelProto) -> Run:
    """Run a graph as it was read, in ONNX Runtime; the session is made at the first call, and the
    graph let go.
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
    """SHA-256 of a file, or of all files of a folder with their names."""
    if path.is_dir():
        total = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            total.update(f"{file.relative_to(path)}\0{file_digest(file)}\n".encode())
        return total.hexdigest()
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
