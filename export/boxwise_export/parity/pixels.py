"""The first step: compare the network's input of the source's framework with that of the stages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boxwise_export.checkpoints.base import Floats
from boxwise_export.graphs.source import SourceInput
from boxwise_export.parity.report import Step
from boxwise_export.pipeline import Normalize


@dataclass
class PixelDifference:
    """The differences of all images, in units of 0 to 255.

    Attributes:
        compared: images.
        worst: the largest mean difference of one.
        sizes: (the framework's, ours) of an image where they differ, which is not compared.
    """

    compared: int = 0
    worst: float = 0.0
    sizes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def add(self, own: Floats, ours: Floats, normalize: Normalize, source: SourceInput) -> None:
        """Compare one image: the framework's input and ours, both normalised."""
        if own.shape != ours.shape:
            self.sizes = own.shape, ours.shape
            return
        channels = np.abs(np.array(normalize.std, np.float32))[: source.channels]
        std = channels.reshape((-1, 1, 1) if source.layout == "NCHW" else (-1,))
        self.compared += 1
        self.worst = max(self.worst, float(np.abs((own - ours) * std).mean()))

    def step(self, part: str, limit: float) -> Step:
        """Return the step of all images."""
        if self.compared:
            sentence = (
                f"{self.compared} images, a mean difference of at most {self.worst:.2f} of 255 "
                f"(allowed {limit:g})"
            )
            return Step(
                part, "pixels", self.worst <= limit, sentence, {"mean_difference": self.worst}
            )
        if self.sizes:
            own, ours = (" x ".join(map(str, shape)) for shape in self.sizes)
            return Step(
                part,
                "pixels",
                None,
                f"the framework makes {own} of an image, the canvas is {ours}",
                {},
            )
        return Step(
            part, "pixels", None, "the source has no preprocessing of its own to compare with", {}
        )
