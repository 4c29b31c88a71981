"""The shells between Triton's Python backend and the stages; every model.py is one line of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from boxwise_runtime.chain import Chain
from boxwise_runtime.errors import InvalidInput
from boxwise_runtime.metrics import FAMILIES, Series, Tally
from boxwise_runtime.parameters import build_stage
from boxwise_runtime.stages import OnnxStage, Tensors
from boxwise_runtime.warmup import warm_up

# Asking whether a caller is gone takes 0.13 ms: in a chain, it is done after so much work and no sooner.
_ASK_EVERY_S = 0.005
_HANDED_OVER_EVERY_S = 1.0


class StageModel:
    """A Triton model that runs one stage: its parameters are the stage's fields, its tensors the stage's tensors."""

    stage_type: ClassVar[type[Any]]

    def initialize(self, args: dict[str, str]) -> None:
        """Build the stage and warm it up; what cannot be built or cannot answer fails the load with the reason."""
        cv2.setNumThreads(1)  # the cores belong to the instances, which would fight over them
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        self._stage: Any = build_stage(self.stage_type, parameters, folder)
        warm_up(self._stage, folder)
        self._tally = Tally(refuses="image" in self._inputs)
        threading.Thread(target=_hand_over, args=(self._tally, args["model_name"]), name="metrics", daemon=True).start()

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Answer each request by itself, so that a wrong one disturbs no other."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        received = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs}
        inputs = {name: tensor.as_numpy() for name, tensor in received.items() if tensor is not None}
        try:
            outputs = self._answer(request, inputs)
        except InvalidInput as error:
            self._tally.add_refusal(error.reason)
            return _refusal(str(error), pb_utils.TritonError.INVALID_ARG)
        except _Refused as error:
            return _refusal(str(error), error.code)
        self._tally.add(outputs)
        wanted = set(request.requested_output_names())
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, tensor) for name, tensor in outputs.items() if name in wanted]
        )

    def _answer(self, request: Any, inputs: Tensors) -> Mapping[str, NDArray[Any]]:
        if isinstance(self._stage, OnnxStage):  # the other stages cost less than asking is worth
            _refuse_cancelled(request)
        outputs: Mapping[str, NDArray[Any]] = self._stage(inputs)
        return outputs


class ChainModel(StageModel):
    """A Triton model that runs the whole pipeline: its parameters are the fields of what has its chain."""

    def initialize(self, args: dict[str, str]) -> None:
        """Build the stages."""
        super().initialize(args)
        self._took_s = _ASK_EVERY_S  # the last request; nobody knows what the first takes

    def _answer(self, request: Any, inputs: Tensors) -> Mapping[str, NDArray[Any]]:
        start = time.perf_counter()
        asked = start - self._took_s  # where requests take long, one that waited may be nobody's any more

        def go_on() -> None:
            nonlocal asked
            if (now := time.perf_counter()) - asked >= _ASK_EVERY_S:
                asked = now
                _refuse_cancelled(request)

        outputs: Mapping[str, NDArray[Any]] = self._stage.chain(inputs, go_on)
        self._took_s = time.perf_counter() - start
        return outputs


class GluedModel(ChainModel):
    """A Triton model that runs the whole pipeline but its networks, which are models of their own that it calls.

    While one request waits for a network, others go on in this process.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Build the stages, and start the threads."""
        super().initialize(args)
        self._threads = ThreadPoolExecutor(self._stage.in_flight, "boxwise")

    def execute(self, requests: list[Any]) -> None:
        """Begin each request; its answer is sent by the thread that has it."""
        for request in requests:
            self._threads.submit(self._send, request, request.get_response_sender())

    def _send(self, request: Any, sender: Any) -> None:
        try:
            response = self._respond(request)
        except Exception as error:  # noqa: BLE001 (without an answer its caller would wait for ever)
            response = _refusal(f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def finalize(self) -> None:
        """Answer what is under way."""
        self._threads.shutdown()


@dataclass
class Glued:
    """A chain whose networks are models of this server.

    Attributes:
        objects: as `Chain.build` has it.
        models: which model is "detector", which "classifier_<name>".
        versions: of these.
        in_flight: requests of one instance at once.
        preprocess: as `Chain.build` has it.
        top_k: as `Chain.build` has it.
    """

    objects: Mapping[str, Any]
    models: Mapping[str, str]
    versions: Mapping[str, int]
    in_flight: int
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    top_k: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chain = Chain.build(
            self.preprocess, self.objects, self.top_k, lambda name: _Network(self.models[name], self.versions[name])
        )


@dataclass(frozen=True)
class _Network:
    """A model of this server, called as the graph that it runs."""

    model: str
    version: int

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        outputs = ["label_ids", "label_scores"] if "crops" in inputs else _CANDIDATES
        request = pb_utils.InferenceRequest(
            model_name=self.model,
            model_version=self.version,
            requested_output_names=outputs,
            inputs=[pb_utils.Tensor(name, np.ascontiguousarray(tensor)) for name, tensor in inputs.items()],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise _Refused(response.error().message(), response.error().code())
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def _hand_over(tally: Tally, model: str) -> None:
    """Add what is counted to Triton's metrics, for as long as the process lives."""
    families: dict[str, Any] = {}
    counters: dict[Series, Any] = {}
    while True:
        for series, amount in tally.take().items():
            if series not in counters:
                name = series.family
                if name not in families:
                    families[name] = pb_utils.MetricFamily(name, FAMILIES[name], pb_utils.MetricFamily.COUNTER)
                labels = {"model": model} | ({series.label: series.value} if series.label else {})
                counters[series] = families[name].Metric(labels=labels)
            counters[series].increment(amount)
        time.sleep(_HANDED_OVER_EVERY_S)


_CANDIDATES = ["candidate_boxes", "candidate_scores", "candidate_classes"]


class _Refused(Exception):
    """Why there is no answer, as a status of Triton."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _refuse_cancelled(request: Any) -> None:
    """Raise where nobody waits any more: the caller cancelled, or the deadline is over.

    Triton 2.51 goes on with an ensemble's steps all the same.
    """
    if request.is_cancelled():
        raise _Refused("cancelled", pb_utils.TritonError.CANCELLED)


def _refusal(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse([], pb_utils.TritonError(message, code))
