"""The shell between Triton's Python backend and a stage; every model.py is one line of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import cv2
import triton_python_backend_utils as pb_utils

from boxwise_runtime.errors import InvalidInput
from boxwise_runtime.parameters import build_stage
from boxwise_runtime.stages import OnnxStage, Stage


class StageModel:
    """A Triton model that runs one stage: its parameters are the stage's fields, its tensors the stage's tensors."""

    stage_type: ClassVar[type[Any]]

    def initialize(self, args: dict[str, str]) -> None:
        """Build the stage; what cannot be built fails the load with the reason."""
        cv2.setNumThreads(1)  # the cores belong to the instances, which would fight over them
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        self._stage: Stage = build_stage(self.stage_type, parameters, folder)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself, so that a wrong one disturbs no other."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        # Nobody waits for it any more: its caller cancelled, or the deadline is over. Triton 2.51 goes on with an
        # ensemble's steps all the same. Asking takes 0.13 ms, so only the stages that cost far more do.
        if isinstance(self._stage, OnnxStage) and request.is_cancelled():
            return pb_utils.InferenceResponse([], pb_utils.TritonError("cancelled", pb_utils.TritonError.CANCELLED))
        received = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs}
        inputs = {name: tensor.as_numpy() for name, tensor in received.items() if tensor is not None}
        try:
            outputs = self._stage(inputs)
        except InvalidInput as error:
            return pb_utils.InferenceResponse([], pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        wanted = set(request.requested_output_names())
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, tensor) for name, tensor in outputs.items() if name in wanted]
        )
