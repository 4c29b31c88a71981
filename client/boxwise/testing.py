"""A fake server for the tests of applications: the tensor contract over real gRPC, without models.

Install it with `pip install "boxwise[testing]"`. It runs in the test's process, starts in
milliseconds, and returns the objects that the test adds.

>>> from boxwise import Client, Overloaded
>>> from boxwise.testing import FakeServer
>>> with FakeServer(labels=["cat", "cup"], classifiers={"drink": ["mug", "espresso"]}) as server:
...     server.find("cup", (10, 20, 40, 60), 0.75, drink={"espresso": 0.875})
...     with Client(server.url) as client:
...         assert client.predict(image)[0].labels["drink"][0].name == "espresso"
...         server.fail(Overloaded, times=1)
"""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from boxwise._errors import (
    AccessDenied,
    BoxwiseError,
    InvalidImage,
    Overloaded,
    ServerError,
    StageFailed,
    Unavailable,
    UnknownPipeline,
)
from boxwise._info import ClassifierInfo, DetectorInfo, PipelineInfo
from boxwise._protocol import messages
from boxwise_contract.limits import ImageLimits
from boxwise_contract.options import Thresholds, read_class_filter
from boxwise_contract.refusals import InvalidInput, queue_full
from boxwise_contract.tensors import DTYPES, FRAME, IMAGE, VERSION, info_model, raw_model

__all__ = ["FakeRequest", "FakeServer"]

_Box: TypeAlias = "tuple[float, float, float, float]"

# Status and message of a real Triton, compared by tests/e2e/test_sdk_causes.py.
_TRITON_ERRORS: dict[type[BoxwiseError], tuple[str, str]] = {
    AccessDenied: (
        "UNAVAILABLE",
        "This protocol is restricted, expecting header 'triton-grpc-protocol-key'",
    ),
    Overloaded: (
        "UNAVAILABLE",
        queue_full(64),
    ),
    Unavailable: (
        "UNAVAILABLE",
        "Server is stopping to serve requests.",
    ),
    StageFailed: ("INTERNAL", "Stub process is not healthy."),
    UnknownPipeline: ("NOT_FOUND", "Request for unknown model: '{model}' is not found"),
    InvalidImage: ("INVALID_ARGUMENT", "image: the JPEG file is truncated or corrupt"),
    ServerError: ("INTERNAL", "an error that a test requested"),
}


@dataclass(frozen=True, slots=True)
class FakeRequest:
    """One received request.

    Attributes:
        model: `<pipeline>`, `<pipeline>_raw` or `<pipeline>_info`.
        inputs: name -> array.
        metadata: headers of the call.
        request_id: sent by the client.
    """

    model: str
    inputs: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, str]
    request_id: str


@dataclass(frozen=True, slots=True)
class _Object:
    box: _Box
    score: float
    class_id: int
    labels: Mapping[str, tuple[tuple[int, float], ...]]


class FakeServer:
    """A server with one pipeline. Use it as a context manager, or call `start` and `stop`.

    It checks inputs as the real stages do. It filters the added objects by the request's score
    threshold, class filter and maximum, but runs no NMS, so `iou_threshold` has no effect.

    Args:
        labels: names of the detector's classes.
        classifiers: name -> labels.
        pipeline: its name.
        top_k: number of labels per box and classifier.
        info: a complete description instead of the arguments above, such as `Client.info()` of a
            real server.
        port: 0 for a free one. A restarted server keeps its port.

    Attributes:
        info: the pipeline's description.
        delay_s: seconds before each response.
        requests: received so far, in order, those for `info` included.
    """

    def __init__(
        self,
        labels: Sequence[str] = ("cat", "cup"),
        classifiers: Mapping[str, Sequence[str]] | None = None,
        *,
        pipeline: str = "boxwise",
        top_k: int = 1,
        info: PipelineInfo | None = None,
        port: int = 0,
    ) -> None:
        self.info = info or PipelineInfo(
            contract=VERSION,
            pipeline=pipeline,
            detector=DetectorInfo(
                tuple(labels), score_threshold=0.25, iou_threshold=0.5, max_detections=100
            ),
            classifiers=tuple(
                ClassifierInfo(name, tuple(names), min(top_k, len(names)), None)
                for name, names in (classifiers or {}).items()
            ),
            limits={"max_pixels": 25_000_000},
            digests={},
        )
        self.delay_s = 0.0
        self.requests: list[FakeRequest] = []
        self._port = port
        self._objects: list[_Object] = []
        self._failures: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._server: Any = None

    @property
    def url(self) -> str:
        """HOST:PORT of the started server."""
        return f"127.0.0.1:{self._port}"

    def find(
        self, class_name: str, box: _Box, confidence: float, **labels: Mapping[str, float]
    ) -> None:
        """Add an object that is found in every image.

        Args:
            class_name: one of the detector's labels.
            box: x1, y1, x2, y2 in pixels.
            confidence: from 0 to 1.
            labels: classifier -> label -> score.

        Raises:
            ValueError: the pipeline has no such class, classifier or label, or no detector.
        """
        detector = self.info.detector
        if detector is None:
            raise ValueError("this pipeline has no detector")
        known = {each.name: each for each in self.info.classifiers}
        if unknown := labels.keys() - known:
            raise ValueError(f"this pipeline has no classifier {min(unknown)!r}")
        ranked = {
            name: tuple(
                (_index(known[name].labels, label), score)
                for label, score in sorted(scores.items(), key=lambda item: -item[1])[
                    : known[name].top_k
                ]
            )
            for name, scores in labels.items()
        }
        self._objects.append(_Object(box, confidence, _index(detector.labels, class_name), ranked))

    def clear(self) -> None:
        """Remove the added objects, the received requests and the pending failures."""
        with self._lock:
            self._objects, self.requests, self._failures = [], [], []

    def fail(self, error: type[BoxwiseError] | tuple[str, str], times: int = 1) -> None:
        """Let the next image requests fail as Triton's do.

        Args:
            error: an error class that a server can cause, or name and message of a gRPC status.
            times: number of requests.

        Raises:
            ValueError: a server cannot cause this error.
        """
        if isinstance(error, type):
            if error not in _TRITON_ERRORS:
                known = ", ".join(kind.__name__ for kind in _TRITON_ERRORS)
                raise ValueError(f"a server cannot cause {error.__name__}: expected one of {known}")
            error = _TRITON_ERRORS[error]
        with self._lock:
            self._failures += [error] * times

    def start(self) -> None:
        """Start to listen, on loopback only. Raises RuntimeError if the port is taken."""
        import grpc

        try:
            options = [
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ]
            self._server = grpc.server(
                ThreadPoolExecutor(64), options=[*options, ("grpc.so_reuseport", 0)]
            )
            unary = grpc.unary_unary_rpc_method_handler
            calls = {
                "ModelInfer": (self._infer, "ModelInferRequest"),
                "ModelReady": (self._ready, "ModelReadyRequest"),
                "ServerLive": (self._live, "ServerLiveRequest"),
            }
            handlers = {
                name: unary(call, getattr(messages(), request).FromString, _serialised)
                for name, (call, request) in calls.items()
            }
            service = grpc.method_handlers_generic_handler(
                "inference.GRPCInferenceService", handlers
            )
            self._server.add_generic_rpc_handlers((service,))
            self._port = self._server.add_insecure_port(self.url)
            self._server.start()
        except RuntimeError as error:
            raise RuntimeError(
                f"port {self._port} is taken: leave it out for one that is free"
            ) from error

    def stop(self) -> None:
        """Close all connections immediately, with their calls in flight."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _live(self, request: Any, context: Any) -> Any:  # noqa: ARG002 - gRPC passes it
        return messages().ServerLiveResponse(live=True)

    def _ready(self, request: Any, context: Any) -> Any:
        if request.name not in self._models:
            self._abort(
                context, "NOT_FOUND", f"Request for unknown model: '{request.name}' is not found"
            )
        return messages().ModelReadyResponse(ready=True)

    @property
    def _models(self) -> tuple[str, ...]:
        name = self.info.pipeline
        return name, raw_model(name), info_model(name)

    def _infer(self, request: Any, context: Any) -> Any:
        metadata = {str(name): str(value) for name, value in context.invocation_metadata()}
        with self._lock:
            self.requests.append(
                FakeRequest(request.model_name, _inputs(request), metadata, request.id)
            )
            described = request.model_name.endswith("_info")
            failure = self._failures.pop(0) if self._failures and not described else None
        time.sleep(self.delay_s)
        if failure is not None:
            self._abort(context, failure[0], failure[1].format(model=request.model_name))
        if request.model_name not in self._models:
            self._abort(
                context,
                "NOT_FOUND",
                f"Request for unknown model: '{request.model_name}' is not found",
            )
        if described:
            return self._description(request)
        try:
            return _response(request, self._predict(_inputs(request)))
        except InvalidInput as refusal:
            self._abort(
                context, "INVALID_ARGUMENT", f"in ensemble '{request.model_name}', {refusal}"
            )

    @staticmethod
    def _abort(context: Any, code: str, details: str) -> None:
        import grpc

        context.abort(grpc.StatusCode[code], details)

    def _description(self, request: Any) -> Any:
        document = json.dumps(dataclasses.asdict(self.info)).encode()
        reply = messages().ModelInferResponse(model_name=request.model_name, id=request.id)
        reply.outputs.add(name="info", datatype="BYTES", shape=[1])
        reply.raw_output_contents.append(struct.pack("<I", len(document)) + document)
        return reply

    def _predict(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs of the contract for one image."""
        height, width = _size(
            inputs, ImageLimits(max_pixels=int(self.info.limits.get("max_pixels", 2**31)))
        )
        thresholds, kept = self._options(inputs)
        found = [
            each
            for each in self._objects
            if each.score >= thresholds.score_threshold and (not kept or each.class_id in kept)
        ]
        found = sorted(found, key=lambda each: -each.score)[: thresholds.max_detections]
        if self.info.detector is None:
            found = [_Object((0.0, 0.0, float(width), float(height)), 1.0, -1, {})]
        outputs: dict[str, NDArray[Any]] = {
            "boxes": np.array([each.box for each in found], np.float32).reshape(-1, 4),
            "scores": np.array([each.score for each in found], np.float32),
            "class_ids": np.array([each.class_id for each in found], np.int32),
            "image_size": np.array([height, width], np.int32),
        }
        for classifier in self.info.classifiers:
            ids = np.full((len(found), classifier.top_k), -1, np.int32)
            scores = np.zeros((len(found), classifier.top_k), np.float32)
            for row, each in enumerate(found):
                for rank, (label, score) in enumerate(each.labels.get(classifier.name, ())):
                    ids[row, rank], scores[row, rank] = label, score
            outputs |= {f"{classifier.name}_ids": ids, f"{classifier.name}_scores": scores}
        return outputs

    def _options(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[Thresholds, set[int]]:
        """Return the thresholds of a request, and the classes that it keeps, empty for all."""
        detector = self.info.detector
        defaults = (
            Thresholds(detector.score_threshold, detector.iou_threshold, detector.max_detections)
            if detector
            else Thresholds(0.0, 0.0, 1)
        )
        kept = read_class_filter(inputs, len(detector.labels) if detector else 0)
        return defaults.read(inputs), set(kept.tolist())


def _index(labels: Sequence[str], name: str) -> int:
    if name not in labels:
        raise ValueError(f"this pipeline has no label {name!r}")
    return labels.index(name)


def _serialised(reply: Any) -> bytes:
    return bytes(reply.SerializeToString())


def _inputs(request: Any) -> dict[str, NDArray[Any]]:
    return {
        each.name: np.frombuffer(raw, DTYPES[each.datatype]).reshape(tuple(each.shape))
        for each, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def _size(inputs: Mapping[str, NDArray[Any]], limits: ImageLimits) -> tuple[int, int]:
    """Return height and width of the image as shown."""
    frame = inputs.get(FRAME.name)
    if frame is None:
        name = IMAGE.name
        height, width = _decoded_size(inputs.get(name, np.empty(0, np.uint8)), limits)
    else:
        name = FRAME.name
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise InvalidInput(f"frame: expected [height, width, 3], got {list(frame.shape)}")
        height, width = frame.shape[:2]
    limits.check_size(name, height, width)
    return height, width


def _decoded_size(file: NDArray[np.uint8], limits: ImageLimits) -> tuple[int, int]:
    from PIL import Image, ImageOps

    limits.check_file(file.size)
    try:
        with Image.open(
            io.BytesIO(file.tobytes()), formats=("JPEG", "PNG", "WEBP", "BMP")
        ) as image:
            shown = ImageOps.exif_transpose(image)
            shown.load()
            return shown.height, shown.width
    except Exception as error:
        raise InvalidInput(f"image: not a JPEG, PNG, WebP or BMP file ({error})") from error


def _response(request: Any, outputs: Mapping[str, NDArray[Any]]) -> Any:
    reply = messages().ModelInferResponse(
        model_name=request.model_name, model_version="1", id=request.id
    )
    for name, array in outputs.items():
        reply.outputs.add(
            name=name, datatype={"f": "FP32", "i": "INT32"}[array.dtype.kind], shape=array.shape
        )
        reply.raw_output_contents.append(array.tobytes())
    return reply
