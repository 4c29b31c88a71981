"""The client orchestrates, and the server only runs networks: the most common way.

The client decodes, letterboxes, calls the detector, runs NMS, crops, and calls the classifier with
all crops in one batch. It uses our stage functions and our server, so that only the place of the
work differs.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

from boxwise_benchmarks.baselines.base import Detections, Peer
from boxwise_benchmarks.baselines.recipe import Recipe
from boxwise_contract.tensors import Tensors
from boxwise_runtime.launcher import ServerOptions, TritonProcess
from boxwise_runtime.pipeline_runner import Graph, PipelineRunner

_CANDIDATES = ("candidate_boxes", "candidate_scores", "candidate_classes")
_LABELS = ("label_ids", "label_scores")


@dataclass(frozen=True)
class RemoteGraph:
    """A model of the server, called like a local graph.

    Attributes:
        client: thread-safe.
        model: its name.
        outputs: names of the requested outputs.
    """

    client: Any
    model: str
    outputs: tuple[str, ...]

    def __call__(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Send the inputs, and return the outputs by name."""
        tensors = []
        for name, values in inputs.items():
            tensor = triton.InferInput(name, values.shape, np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values)
            tensors.append(tensor)
        reply = self.client.infer(self.model, tensors)
        return {name: reply.as_numpy(name) for name in self.outputs}


class TwoCalls(Peer):
    """Two requests per image.

    Args:
        repository: in the layout `ensemble`, whose networks are models of their own.
        recipe: of its pipeline.
    """

    name = "two_calls"

    def __init__(self, repository: Path, recipe: Recipe) -> None:
        self._repository = repository
        self._recipe = recipe

    def start(self, stack: ExitStack) -> None:
        """Start the server, and build a runner whose graphs are remote."""
        cv2.setNumThreads(1)  # concurrent calls already use all cores
        options = ServerOptions.on_free_ports(self._repository)
        stack.enter_context(TritonProcess.start(options))
        client = triton.InferenceServerClient(options.grpc_url)
        stack.callback(client.close)
        recipe = self._recipe

        def remote(name: str) -> Graph:
            graph = RemoteGraph(
                client, f"{recipe.pipeline}_{name}", _CANDIDATES if name == "detector" else _LABELS
            )
            return graph if name == "detector" else self.classifier(graph)

        self._runner = PipelineRunner.build(
            recipe.preprocess, recipe.objects, {recipe.classifier: recipe.top_k}, remote
        )

    def classifier(self, graph: Graph) -> Graph:
        """Return the graph that sends all crops of an image in one batch."""
        return graph

    def call(self, image: bytes) -> Detections:
        """Run the stages here, and the networks on the server."""
        return Detections.from_tensors(
            self._runner({"image": np.frombuffer(image, np.uint8)}), self._recipe.classifier
        )
