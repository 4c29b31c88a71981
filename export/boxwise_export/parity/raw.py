"""The second step: compare the network's raw outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnx
from numpy.typing import NDArray

from boxwise_export.checkpoints.base import Floats
from boxwise_export.graphs.builder import SOURCE_PREFIX
from boxwise_export.graphs.large_models import open_graph
from boxwise_export.parity.compare import relative_difference
from boxwise_export.parity.report import Step


class RawOutputs:
    """Compare the raw outputs inside an exported graph with the source's.

    Args:
        graph: to publish.
        names: of the source's outputs.
        pixels: the name of the graph's input.
    """

    def __init__(self, graph: onnx.ModelProto, names: Sequence[str], pixels: str) -> None:
        self._names = names
        self._pixels = pixels
        with _with_outputs(graph, [SOURCE_PREFIX + name for name in names]):
            self._graph = open_graph(graph)
        self._worst = 0.0
        self._where = ""

    def add(self, expected: Mapping[str, Floats], pixels: NDArray[np.uint8]) -> None:
        """Compare with the source's outputs for these pixels."""
        inside = self._graph({self._pixels: pixels})
        got = {name: np.asarray(inside[SOURCE_PREFIX + name], np.float32) for name in self._names}
        worst, where = relative_difference({name: expected[name] for name in self._names}, got)
        if worst >= self._worst or not np.isfinite(worst):
            self._worst, self._where = worst, where

    def step(self, part: str, limit: float) -> Step:
        """Return the step of all images."""
        sentence = (
            f"{self._where}: a distance of at most {self._worst:.2g} of its length (allowed "
            f"{limit:g})"
        )
        return Step(
            part, "outputs", self._worst <= limit, sentence, {"relative_difference": self._worst}
        )


@contextmanager
def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> Iterator[None]:
    """Add tensors to the model's outputs within the block; ONNX Runtime infers their types."""
    outputs = model.graph.output
    count = len(outputs)
    outputs.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        yield
    finally:
        del outputs[count:]
