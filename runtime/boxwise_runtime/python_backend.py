"""The shells between Triton's Python backend and the stages; each model.py names one of them."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from boxwise_contract.refusals import InvalidInput
from boxwise_contract.tensors import Tensors
from boxwise_runtime.load_board import SHM, Downstream, LoadBoard, load_file
from boxwise_runtime.metrics import FAMILIES, GAUGES, Series, Tally
from boxwise_runtime.parameters import build_stage
from boxwise_runtime.request_queue import Overload, RequestQueue, take_queue
from boxwise_runtime.warmup import warm_up

# `is_cancelled` takes 0.13 ms, so a pipeline checks it only after this much work.
_CHECK_EVERY_S = 0.005
_METRICS_EVERY_S = 1.0
_UUID_LENGTH = 36
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_.:-]")
_ID_LENGTH = 64
_SPARE = 2  # times the size of a response in /dev/shm: other processes allocate concurrently


class StageModel:
    """A Triton model that runs one stage: its parameters are the stage's fields, its tensors the
    stage's.
    """

    stage_type: ClassVar[type[Any]]

    def initialize(self, args: dict[str, str]) -> None:
        """Build the stage and warm it up. A model that fails either is not loaded, and the log has
        the reason.
        """
        cv2.setNumThreads(1)  # each core has an instance of its own
        config = json.loads(args["model_config"])
        self._name = args["model_name"]
        self._inputs = [tensor["name"] for tensor in config["input"]]
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        self._limits, self._downstream = take_queue(parameters)
        folder = Path(args["model_repository"]) / args["model_version"]
        self._stage: Any = build_stage(self.stage_type, parameters, folder)
        warm_up(self._stage, folder)
        self._tally = Tally(refuses="image" in self._inputs, queue=self._open_queue(args))
        threading.Thread(
            target=_hand_over, args=(self._tally, args["model_name"]), name="metrics", daemon=True
        ).start()

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Serve each request by itself, so that an invalid one does not affect the others."""
        return [self._respond(request, self._read(request)) for request in requests]

    def _open_queue(self, args: dict[str, str]) -> RequestQueue[Any] | None:  # noqa: ARG002
        """Return the queue of requests, if the model has one."""
        return None

    def _read(self, request: Any) -> Tensors:
        received = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs}
        return {name: tensor.as_numpy() for name, tensor in received.items() if tensor is not None}

    def _respond(self, request: Any, inputs: Tensors) -> Any:
        try:
            outputs = self._answer(request, inputs)
        except InvalidInput as error:
            self._tally.add_refusal(error.reason)
            return _refusal(str(error), pb_utils.TritonError.INVALID_ARG)
        except StatusError as error:
            return _refusal(str(error), error.code)
        except Exception as error:  # noqa: BLE001 (the caller gets an error, the log the traceback)
            return self._unexpected(request, error)
        self._tally.add(outputs)
        wanted = set(request.requested_output_names())
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, tensor) for name, tensor in outputs.items() if name in wanted]
        )

    def _answer(self, request: Any, inputs: Tensors) -> Mapping[str, NDArray[Any]]:  # noqa: ARG002
        outputs: Mapping[str, NDArray[Any]] = self._stage(inputs)
        return outputs

    def _unexpected(self, request: Any, error: Exception) -> Any:
        """Return INTERNAL with a request id; the traceback goes to the log only, since it shows
        internals.
        """
        given = _NOT_IN_AN_ID.sub("", request.request_id())[:_ID_LENGTH]
        number = given or secrets.token_hex(6)
        sys.stderr.write(f"boxwise: request {number}: {''.join(traceback.format_exception(error))}")
        return _refusal(
            f"an unexpected error in the stage {self._name}: the server's log has it, under "
            f"the request id {number}",
            pb_utils.TritonError.INTERNAL,
        )


@dataclass(frozen=True)
class _Waiting:
    """A queued request: its inputs, and the sender of its response."""

    request: Any
    inputs: Tensors
    sender: Any

    def send(self, response: Any) -> None:
        self.sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class QueuedModel(StageModel):
    """A stage with a queue of requests (`request_queue.py`), balanced over its processes
    (`load_board.py`).

    `execute` enqueues the requests and returns, so that Triton hands over the next ones; worker
    threads respond. Triton's own queue cannot be bounded: with `max_queue_size`, 2.51 delivers
    requests up to half a second late.
    """

    @property
    def workers(self) -> int:
        """Requests that this process runs concurrently."""
        return 1

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Serve the requests, or enqueue them."""
        with self._queue.here() as here:
            responses = super().execute(requests) if here else None
        if not here:
            for request in requests:
                waiting = _Waiting(request, self._read(request), request.get_response_sender())
                self._queue.join(waiting, sum(tensor.nbytes for tensor in waiting.inputs.values()))
            self._queue.wait_for_turn()
        return responses

    def finalize(self) -> None:
        """Serve what is queued."""
        self._queue.close()

    def _open_queue(self, args: dict[str, str]) -> RequestQueue[_Waiting]:
        prefix = _server_prefix()
        count = json.loads(args["model_config"])["instance_group"][0]["count"]
        place = int(args["model_instance_name"].rpartition("_")[2])
        board = LoadBoard(
            load_file(prefix, args["model_name"], args["model_version"]), place, count
        )
        downstream = Downstream(prefix, self._downstream)
        self._queue = RequestQueue(
            self._send, self._turn_away, self._limits, self.workers, board, lambda: downstream.busy
        )
        return self._queue

    def _answer(self, request: Any, inputs: Tensors) -> Mapping[str, NDArray[Any]]:
        _raise_if_cancelled(request)
        return super()._answer(request, inputs)

    def _send(self, waiting: _Waiting) -> None:
        try:
            response = self._respond(waiting.request, waiting.inputs)
            self._check_room()
        except StatusError as error:
            response = _refusal(str(error), error.code)
        except Exception as error:  # noqa: BLE001 (without a response the caller would wait forever)
            response = self._unexpected(waiting.request, error)
        waiting.send(response)

    def _check_room(self) -> None:
        """Raise StatusError if /dev/shm may have no room for the response."""

    def _turn_away(self, waiting: _Waiting, why: Overload) -> None:
        self._tally.add_overload(why)
        waiting.send(_refusal(self._limits.message(why), pb_utils.TritonError.UNAVAILABLE))


class DecodingModel(QueuedModel):
    """A stage whose responses are as large as images, for which /dev/shm may have no room.

    Triton's response sender accepts one response only. If that fails for lack of room, the caller
    waits forever. So while room is short, nothing is queued: Triton's own thread responds, which
    reports such a failure.
    """

    _largest = 0  # bytes of the largest response so far

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Serve the requests, or enqueue them."""
        short = _shm_room() < 2 * _SPARE * self._largest
        return StageModel.execute(self, requests) if short else super().execute(requests)

    def _answer(self, request: Any, inputs: Tensors) -> Mapping[str, NDArray[Any]]:
        outputs = super()._answer(request, inputs)
        self._largest = max(self._largest, sum(tensor.nbytes for tensor in outputs.values()))
        return outputs

    def _check_room(self) -> None:
        if (room := _shm_room()) < _SPARE * self._largest:
            raise StatusError(
                f"{SHM} has {room} bytes left, and a response has {self._largest}: give it more "
                "(--shm-size)",
                pb_utils.TritonError.INTERNAL,
            )


class PipelineModel(QueuedModel):
    """A Triton model that runs the whole pipeline; its stage has a `runner`."""

    _took_s = _CHECK_EVERY_S  # the last request

    def _answer(self, request: Any, inputs: Tensors) -> Mapping[str, NDArray[Any]]:
        start = time.perf_counter()
        # As old as the last request took: a queued one may have been cancelled meanwhile.
        checked = start - self._took_s

        def check_cancelled() -> None:
            nonlocal checked
            if (now := time.perf_counter()) - checked >= _CHECK_EVERY_S:
                checked = now
                _raise_if_cancelled(request)

        outputs: Mapping[str, NDArray[Any]] = self._stage.runner(inputs, check_cancelled)
        self._took_s = time.perf_counter() - start
        return outputs


def _server_prefix() -> str:
    """Return the prefix of this server's files in /dev/shm; the launcher removes those with it.

    A stub process has the name of its segment among its arguments: the prefix and a UUID.
    """
    segments = {entry.name for entry in SHM.iterdir()}
    arguments = Path("/proc/self/cmdline").read_text().split("\0")
    return next(name for name in arguments if name in segments)[:-_UUID_LENGTH]


def _shm_room() -> int:
    """Return the free bytes of /dev/shm."""
    found = os.statvfs(SHM)
    return found.f_bavail * found.f_frsize


def _hand_over(tally: Tally, model: str) -> None:
    """Add the counts to Triton's metrics once a second, for the life of the process."""
    families: dict[str, Any] = {}
    counters: dict[Series, Any] = {}
    while True:
        for series, amount in tally.take().items():
            if series not in counters:
                name = series.family
                if name not in families:
                    kind = (
                        pb_utils.MetricFamily.GAUGE
                        if name in GAUGES
                        else pb_utils.MetricFamily.COUNTER
                    )
                    families[name] = pb_utils.MetricFamily(name, FAMILIES[name], kind)
                labels = {"model": model} | ({series.label: series.value} if series.label else {})
                counters[series] = families[name].Metric(labels=labels)
            counters[series].increment(amount)
        time.sleep(_METRICS_EVERY_S)


class StatusError(Exception):
    """A request failed with a status of Triton."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _raise_if_cancelled(request: Any) -> None:
    """Raise StatusError if the caller cancelled or its deadline is exceeded; Triton 2.51 continues
    the steps of an ensemble even then.
    """
    if request.is_cancelled():
        raise StatusError("cancelled", pb_utils.TritonError.CANCELLED)


def _refusal(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse([], pb_utils.TritonError(message, code))
