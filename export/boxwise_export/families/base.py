"""What a detector family is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from boxwise_export.graphs.builder import GraphBuilder
from boxwise_export.pipeline import Activation, Background, Normalize, TensorNames
from boxwise_runtime.canvas import ColorOrder, Interpolation, Resize

Outputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class CanvasDefaults:
    """How the family's authors lay an image on the canvas; metadata and the pipeline file may say
    otherwise.
    """

    resize: Resize
    pad_value: int = 114
    interpolation: Interpolation = "linear"
    color_order: ColorOrder = "rgb"
    normalize: Normalize = field(default_factory=Normalize)


# Of the images of ImageNet, which nearly every backbone was trained on: torchvision's 0.485, 0.456,
# 0.406 and 0.229, 0.224, 0.225, of 255.
IMAGENET = Normalize(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
# torchvision's and Detectron2's detectors pad at the right and the bottom, with what is 0 after the
# normalisation.
IMAGENET_CANVAS = CanvasDefaults(resize="letterbox_top_left", pad_value=115, normalize=IMAGENET)


@dataclass(frozen=True)
class Head:
    """What a detector's graph gives, and all else that a family needs to read it.

    Attributes:
        outputs: name -> what it held for one image of noise, float32, the batch of 1 first where
            there is one.
        height: of the canvas, pixels.
        width: of the canvas, pixels.
        names: of the classes; None where they are not known yet.
        anchors: float32 [N, 4], xyxy in canvas pixels, where the source or the pipeline file has
            them.
        tensors: the outputs by their roles, where the pipeline file names them (family `generic`).
        activation: what makes scores of the class columns, where the source or the pipeline file
            names it.
        background: which class column is no object, likewise.
        task: of the checkpoint's metadata, as "detect" or "pose"; None where it has none.
    """

    outputs: Outputs
    height: int
    width: int
    names: tuple[str, ...] | None = None
    anchors: NDArray[np.float32] | None = None
    tensors: TensorNames | None = None
    activation: Activation | None = None
    background: Background | None = None
    task: str | None = None

    @property
    def classes(self) -> int | None:
        """How many names there are; None where they are not known yet."""
        return None if self.names is None else len(self.names)


@dataclass(frozen=True)
class Decoded:
    """Every cell, anchor or query of a head, decoded.

    Attributes:
        boxes: tensor, float32 [B, count, 4], xyxy in canvas pixels.
        scores: tensor, 0 to 1: float32 [B, count, classes], or [B, count] where each box comes with
            its one class.
        class_ids: tensor, int32 [B, count], in the second case; None in the first.
        count: the boxes of one image; None where their number varies from image to image.
    """

    boxes: str
    scores: str
    class_ids: str | None = None
    count: int | None = None


@dataclass(frozen=True)
class Reading:
    """A head that a family can read.

    Attributes:
        why: what it was recognised by, as "one output [1, 3549, 85]: ...".
        classes: how many there are; None where the graph gives ids, whose largest is not known.
        nms: whether several boxes may be of one object.
        decode: writes the decoding of the graph's outputs (name -> tensor, cast to float32) into
            the graph.
        assumed: what was concluded and not said, each a sentence with its reason.
        unnamed: which of the names given is the background's, and so no class: "first", "last" or
            "none".
    """

    why: str
    classes: int | None
    decode: Callable[[GraphBuilder, Mapping[str, str]], Decoded]
    nms: bool = True
    assumed: tuple[str, ...] = ()
    unnamed: Background = "none"

    def class_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names given, without the background's."""
        return {"first": names[1:], "last": names[:-1], "none": names}[self.unnamed]


@dataclass(frozen=True)
class Mismatch:
    """A head that a family cannot read.

    Attributes:
        missing: what it needs, as "two maps of one size, ...".
        met: 0 to 1, how much of what it needs is there; the nearest family is the one with the
            most.
    """

    missing: str
    met: float = 0.0


@dataclass(frozen=True)
class Question:
    """A head that fits a family in more than one way, or in none that its settings allow.

    Attributes:
        what: what was found, as "logits has 91 columns for 90 names".
        readings: (keys of the pipeline file, what they mean) of each reading; the keys choose it.
        fits: whether the number of names fits one of them.
    """

    what: str
    readings: tuple[tuple[str, str], ...]
    fits: bool = True

    def __str__(self) -> str:
        """The whole question, with the keys that settle it."""
        choices = "; ".join(f"`{keys}` ({meaning})" for keys, meaning in self.readings)
        return f"{self.what}. Choose in the pipeline file: {choices}"


Result = Reading | Question | Mismatch


@dataclass(frozen=True)
class Family:
    """One way in which detectors give their boxes.

    Attributes:
        name: as `family:` names it.
        canvas: how its authors lay an image on the canvas.
        read: recognises a head, by its outputs and the settings beside them.
        multi_label: whether the authors' predict gives a box for every class of a cell above the
            threshold, or (False) for its best class alone.
        chooses: whether `activation:` and `background:` have a meaning for it.
    """

    name: str
    canvas: CanvasDefaults
    read: Callable[[Head], Result]
    multi_label: bool = True
    chooses: bool = False


def are_probabilities(values: NDArray[np.float32]) -> bool:
    """Whether every value lies between 0 and 1, as after a sigmoid."""
    return bool(values.min(initial=0) >= 0 and values.max(initial=1) <= 1 + 1e-4)


def shapes(outputs: Outputs) -> str:
    """The outputs as a person reads them: "boxes [1, 100, 4], scores [1, 100]"."""
    return ", ".join(f"{name} {list(values.shape)}" for name, values in outputs.items())
