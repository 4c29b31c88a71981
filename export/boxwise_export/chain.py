"""A published pipeline in one process: the stages and graphs that a server would load, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from boxwise_export.versions import current_version
from boxwise_runtime.parameters import build_stage
from boxwise_runtime.session import OnnxGraph
from boxwise_runtime.stages import Assemble, Preprocess, Stage, Suppress, WholePicture

Tensors = dict[str, NDArray[Any]]
Graph = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
_NO_LABELS: Tensors = {"label_ids": np.zeros((0, 1)), "label_scores": np.zeros((0, 1))}
_CHUNK = 16  # rows of one run, as the embedded target has it


@dataclass(frozen=True)
class Chain:
    """The stages of a pipeline; a request of the contract in, its reply out.

    Attributes:
        preprocess: where there is a detector, None where not.
        detector: its graph.
        objects: what makes boxes, and the classifiers' crops of them.
        classifiers: graphs by the classifiers' names.
    """

    preprocess: Preprocess | None
    detector: Graph | None
    objects: Suppress | WholePicture
    classifiers: Mapping[str, Graph]

    @classmethod
    def load(cls, repository: Path, pipeline: str, threads: int = 1) -> Chain:
        """Read the current version of every stage and graph.

        Args:
            repository: exported.
            pipeline: its name.
            threads: of each graph.
        """

        def stage(stage_type: type[Any], name: str) -> Any:
            folder = repository / f"{pipeline}_{name}"
            text = (folder / "config.pbtxt").read_text(encoding="utf-8")
            config: Any = text_format.Parse(text, model_config_pb2.ModelConfig())
            parameters: Mapping[str, str] = {key: value.string_value for key, value in config.parameters.items()}
            return build_stage(stage_type, parameters, _version(repository, f"{pipeline}_{name}"))

        def graph(name: str) -> OnnxGraph:
            path = _version(repository, f"{pipeline}_{name}") / "model.onnx"
            return OnnxGraph(path, threads=threads, chunk=_CHUNK)

        detects = (repository / f"{pipeline}_detector").is_dir()
        objects: Suppress | WholePicture = stage(Suppress, "nms") if detects else stage(WholePicture, "whole_picture")
        return cls(
            preprocess=stage(Preprocess, "preprocess") if detects else None,
            detector=graph("detector") if detects else None,
            objects=objects,
            classifiers={name: graph(f"classifier_{name}") for name in objects.crops},
        )

    def __call__(self, request: Mapping[str, NDArray[Any]]) -> Tensors:
        """The inputs of the contract (`image` or `raw_frame`, thresholds) -> its outputs, and the crops on the way."""
        tensors: Tensors = dict(request)
        if self.preprocess and self.detector:
            tensors = self.preprocess(tensors)
            tensors |= self.detector({"canvas": tensors["canvas"]})
        objects = self.objects(tensors)
        said: Tensors = dict(objects)
        for name, classifier in self.classifiers.items():
            # Unlike the server, a loop need not ask about nothing.
            asked = len(objects[f"{name}_rows"])
            labels = classifier({"crops": objects[f"{name}_crops"]}) if asked else _NO_LABELS
            said |= {f"{name}_{part}": values for part, values in labels.items()}
        assemble: Stage = Assemble(tuple(self.classifiers))
        return objects | assemble(said)


def _version(repository: Path, model: str) -> Path:
    return repository / model / str(current_version(repository, model))
