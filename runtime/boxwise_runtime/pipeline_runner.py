"""The stages of a pipeline one after the other, as one function: the bare loop, and every layout of
few hops, are this.

image -> preprocess -> detector -> objects -> classifiers -> assemble -> the outputs of the contract
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_runtime.metrics import SECONDS_OF
from boxwise_runtime.session import OnnxGraph
from boxwise_runtime.stages import Assemble, Preprocess, Suppress, WholePicture

Tensors = dict[str, NDArray[Any]]
Graph = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]


def _go_on() -> None:
    """Nobody can be gone."""


@dataclass(frozen=True)
class PipelineRunner:
    """A request of the contract in, its reply out.

    Attributes:
        preprocess: where there is a detector, None where not.
        detector: its graph.
        objects: what makes boxes, and the classifiers' crops of them.
        classifiers: graphs by the classifiers' names.
        top_k: how many labels each of them gives.
    """

    preprocess: Preprocess | None
    detector: Graph | None
    objects: Suppress | WholePicture
    classifiers: Mapping[str, Graph]
    top_k: Mapping[str, int]

    @classmethod
    def build(
        cls,
        preprocess: Mapping[str, Any],
        objects: Mapping[str, Any],
        top_k: Mapping[str, int],
        graph: Callable[[str], Graph],
    ) -> PipelineRunner:
        """Make the stages of their fields.

        Args:
            preprocess: of `stages.Preprocess`; none without a detector.
            objects: of `stages.Suppress`, or without a detector of `stages.WholePicture`.
            top_k: for each classifier.
            graph: what runs the graph of this name: "detector", "classifier_<name>".
        """
        return cls(
            preprocess=Preprocess(**preprocess) if preprocess else None,
            detector=graph("detector") if preprocess else None,
            objects=Suppress(**objects) if preprocess else WholePicture(**objects),
            classifiers={name: graph(f"classifier_{name}") for name in top_k},
            top_k=top_k,
        )

    def __call__(
        self, request: Mapping[str, NDArray[Any]], go_on: Callable[[], None] = _go_on
    ) -> Tensors:
        """The inputs of the contract (`image` or `raw_frame`, thresholds) -> its outputs, and what
        came on the way.

        That is the crops, and what `metrics` counts: the seconds of each stage among it.

        Args:
            request: tensors by name.
            go_on: called before each graph; raises where nobody waits for the reply any more.
        """
        tensors: Tensors = dict(request)
        seconds = _Seconds()
        if self.preprocess and self.detector:
            tensors = self.preprocess(tensors)
            seconds.spent_on("preprocess")
            seconds.spent["decode_seconds"] = tensors["decode_seconds"]
            go_on()
            tensors |= self.detector({"canvas": tensors["canvas"]})
            seconds.spent_on("detector")
        objects = self.objects(tensors)
        seconds.spent_on("nms" if self.detector else "whole_picture")
        said: Tensors = dict(objects)
        for name, classifier in self.classifiers.items():
            # Where nothing is to be asked about, an ensemble asks about a blank crop; here nobody
            # need be asked.
            if len(objects[f"{name}_rows"]):
                go_on()
                labels = classifier({"crops": objects[f"{name}_crops"]})
            else:
                labels = _no_labels(self.top_k[name])
            said |= {f"{name}_{part}": values for part, values in labels.items()}
            seconds.spent_on(f"classifier_{name}")
        assembled = Assemble(tuple(self.classifiers))(said)
        seconds.spent_on("assemble")
        return objects | assembled | seconds.spent


@dataclass
class Fused:
    """A runner of graphs in one folder; the fields are the parameters of its Triton model.

    Attributes:
        folder: holds the stages' own folders, `stages/detector/model.onnx` among them.
        objects: as `PipelineRunner.build` has it.
        threads: of one run.
        chunk: the most rows of one run.
        preprocess: as `PipelineRunner.build` has it.
        top_k: as `PipelineRunner.build` has it.
    """

    folder: Path
    objects: Mapping[str, Any]
    threads: int
    chunk: int
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    top_k: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runner = PipelineRunner.build(self.preprocess, self.objects, self.top_k, self._graph)

    def _graph(self, name: str) -> Graph:
        return OnnxGraph(
            self.folder / "stages" / name / "model.onnx", threads=self.threads, chunk=self.chunk
        )


class _Seconds:
    """A stopwatch that is read after each stage."""

    def __init__(self) -> None:
        self.spent: Tensors = {}
        self._since = time.perf_counter()

    def spent_on(self, stage: str) -> None:
        """Put down what went by since the last stage."""
        now = time.perf_counter()
        self.spent[SECONDS_OF + stage] = np.array(now - self._since)
        self._since = now


def _no_labels(top_k: int) -> Tensors:
    return {
        "label_ids": np.zeros((0, top_k), np.int32),
        "label_scores": np.zeros((0, top_k), np.float32),
    }
