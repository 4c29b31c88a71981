"""All stages of a pipeline as one function: what `fused` and `bls` serve, what the parity gate
runs, and the bare loop of the benchmarks.

    image -> preprocess -> detector -> nms -> classifiers -> assemble -> outputs of the contract
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

Graph = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]


def _never_cancelled() -> None:
    """Outside a server nobody cancels."""


@dataclass(frozen=True)
class PipelineRunner:
    """A function from the inputs of the contract to its outputs.

    Attributes:
        preprocess: None without a detector.
        detector: its graph; None without one.
        objects: makes the boxes, and the classifiers' crops.
        classifiers: name -> graph.
        top_k: name -> labels per box.
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
        """Build the stages from their fields.

        Args:
            preprocess: fields of `stages.Preprocess`; empty without a detector.
            objects: fields of `stages.Suppress`, or without a detector of `stages.WholePicture`.
            top_k: classifier -> labels per box.
            graph: returns what runs "detector" or "classifier_<name>".
        """
        return cls(
            preprocess=Preprocess(**preprocess) if preprocess else None,
            detector=graph("detector") if preprocess else None,
            objects=Suppress(**objects) if preprocess else WholePicture(**objects),
            classifiers={name: graph(f"classifier_{name}") for name in top_k},
            top_k=top_k,
        )

    def __call__(
        self,
        request: Mapping[str, NDArray[Any]],
        check_cancelled: Callable[[], None] = _never_cancelled,
    ) -> dict[str, NDArray[Any]]:
        """Run the inputs of the contract (`image` or `raw_frame`, options) through all stages.

        Args:
            request: tensors by name.
            check_cancelled: called before each graph; raises if the request was cancelled.

        Returns:
            The outputs of the contract, and what `metrics` counts: the crops, and the seconds of
            each stage.
        """
        tensors: dict[str, NDArray[Any]] = dict(request)
        seconds = _Seconds()
        if self.preprocess and self.detector:
            tensors = self.preprocess(tensors)
            seconds.spent_on("preprocess")
            seconds.spent["decode_seconds"] = tensors["decode_seconds"]
            check_cancelled()
            tensors |= self.detector({"canvas": tensors["canvas"]})
            seconds.spent_on("detector")
        objects = self.objects(tensors)
        seconds.spent_on("nms" if self.detector else "whole_picture")
        said: dict[str, NDArray[Any]] = dict(objects)
        for name, classifier in self.classifiers.items():
            # Without boxes for it, an ensemble runs the classifier on a blank crop; here it need
            # not run.
            if len(objects[f"{name}_rows"]):
                check_cancelled()
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
    """A runner whose graphs lie in the model's own folder; the fields are the model's parameters.

    Attributes:
        folder: holds the stages' own folders, `stages/detector/model.onnx` among them.
        objects: see `PipelineRunner.build`.
        threads: of one run of a graph.
        chunk: maximum rows of one run.
        preprocess: see `PipelineRunner.build`.
        top_k: see `PipelineRunner.build`.
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
    """A stopwatch for the stages."""

    def __init__(self) -> None:
        self.spent: dict[str, NDArray[Any]] = {}
        self._since = time.perf_counter()

    def spent_on(self, stage: str) -> None:
        """Record the time since the last stage."""
        now = time.perf_counter()
        self.spent[SECONDS_OF + stage] = np.array(now - self._since)
        self._since = now


def _no_labels(top_k: int) -> dict[str, NDArray[Any]]:
    return {
        "label_ids": np.zeros((0, top_k), np.int32),
        "label_scores": np.zeros((0, top_k), np.float32),
    }
