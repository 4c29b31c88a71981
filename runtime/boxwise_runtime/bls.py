"""The layout `bls`: one model runs the pipeline and calls the networks, models of their own, by
Triton's business logic scripting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from boxwise_contract.refusals import is_queue_refusal
from boxwise_runtime.pipeline_runner import PipelineRunner
from boxwise_runtime.python_backend import PipelineModel, StatusError
from boxwise_runtime.stages import CANDIDATES, LABELS


class BlsModel(PipelineModel):
    """A Triton model that runs a pipeline and calls its networks. While one request waits for a
    network, this process continues with others.
    """

    @property
    def workers(self) -> int:
        """Requests that this process runs concurrently."""
        return int(self._stage.in_flight)


@dataclass
class BlsPipeline:
    """A runner whose networks are models of this server; the fields are the model's parameters.

    Attributes:
        objects: see `PipelineRunner.build`.
        models: "detector" and "classifier_<name>" -> the model's name.
        versions: of these models.
        in_flight: requests that one instance runs concurrently.
        preprocess: see `PipelineRunner.build`.
        top_k: see `PipelineRunner.build`.
    """

    objects: Mapping[str, Any]
    models: Mapping[str, str]
    versions: Mapping[str, int]
    in_flight: int
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    top_k: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runner = PipelineRunner.build(
            self.preprocess,
            self.objects,
            self.top_k,
            lambda name: _Network(self.models[name], self.versions[name]),
        )


@dataclass(frozen=True)
class _Network:
    """A model of this server, called like the graph that it runs."""

    model: str
    version: int

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        outputs = LABELS if "crops" in inputs else CANDIDATES
        request = pb_utils.InferenceRequest(
            model_name=self.model,
            model_version=self.version,
            requested_output_names=list(outputs),
            inputs=[
                pb_utils.Tensor(name, np.ascontiguousarray(tensor))
                for name, tensor in inputs.items()
            ],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            message, code = response.error().message(), response.error().code()
            # In Triton 2.51 the status of a BLS call is INTERNAL, whatever the model returned.
            overloaded = is_queue_refusal(message)
            raise StatusError(message, pb_utils.TritonError.UNAVAILABLE if overloaded else code)
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
