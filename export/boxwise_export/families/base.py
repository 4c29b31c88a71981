"""What a detector family is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from boxwise_export.graph.builder import GraphBuilder
from boxwise_export.pipeline import Normalize
from boxwise_runtime.canvas import ColorOrder, Interpolation, Resize

Outputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class CanvasDefaults:
    """How the family's authors lay a picture on the canvas; the pipeline file may say otherwise."""

    resize: Resize
    pad_value: int = 114
    interpolation: Interpolation = "linear"
    color_order: ColorOrder = "rgb"
    normalize: Normalize = field(default_factory=Normalize)


@dataclass(frozen=True)
class Decoded:
    """Every cell of a head, decoded.

    Attributes:
        boxes: tensor, float32 [B, count, 4], xyxy in canvas pixels.
        scores: tensor, float32 [B, count, classes], 0 to 1.
        count: cells.
        classes: of the detector.
    """

    boxes: str
    scores: str
    count: int
    classes: int


class Family(Protocol):
    """One way in which detectors give their boxes."""

    @property
    def name(self) -> str:
        """As `family:` names it."""

    @property
    def canvas(self) -> CanvasDefaults:
        """How a picture is laid on the canvas."""

    @property
    def nms(self) -> bool:
        """Whether several boxes may be of one object."""

    def mismatch(self, outputs: Outputs, height: int, width: int) -> str | None:
        """None where these outputs can be read; else what is missing, as "two maps of one size ..."."""

    def decode(
        self, graph: GraphBuilder, tensors: Mapping[str, str], outputs: Outputs, height: int, width: int
    ) -> Decoded:
        """Write the decoding of `tensors` into the graph; `outputs` are what they held for one picture."""
