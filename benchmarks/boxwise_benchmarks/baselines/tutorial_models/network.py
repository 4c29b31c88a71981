"""A network as its framework exported it: from float32 to raw outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from boxwise_benchmarks.baselines.tutorial_models.shared import read_settings
from boxwise_runtime.session import OnnxGraph


class TritonPythonModel:
    """Runs model.onnx."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph."""
        settings = read_settings(args)
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._graph = OnnxGraph(path, threads=settings["threads"], chunk=settings["chunk"])
        self._input = settings["input"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Respond to each request."""
        responses = []
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, self._input).as_numpy()
            outputs = self._graph({self._input: values})
            responses.append(
                pb_utils.InferenceResponse(
                    [pb_utils.Tensor(name, output) for name, output in outputs.items()]
                )
            )
        return responses
