"""The synchronous client: a channel, a deadline, and the call. What is sent and what comes back is made elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from boxwise._errors import BoxwiseError, DeadlineExceeded, InvalidInput, Unavailable, UnknownPipeline, from_status
from boxwise._image import ImageLike, to_tensor
from boxwise._info import PipelineInfo
from boxwise._protocol import INFER, MAX_MESSAGE_BYTES, READY, messages
from boxwise._request import info_request, predict_request
from boxwise._response import arrays, text
from boxwise._result import Result

# Long enough for the slowest picture on a busy laptop. A service wants less.
DEFAULT_TIMEOUT_S = 30.0


class Client:
    """One pipeline on one server; thread-safe, and connected at the first call.

    Args:
        url: HOST:PORT of the server's gRPC port, or any other gRPC target (`dns:///host:8001`, `unix:/path`).
        pipeline: the name it was exported with.
        timeout_s: seconds from a call to its answer, before `DeadlineExceeded`; a call can set its own.

    Raises:
        InvalidInput: `url` is an http address.

    Example:
        >>> with Client("localhost:8001") as client:
        ...     for detection in client.predict("street.jpg", score_threshold=0.4):
        ...         print(detection.class_name, detection.score, detection.box)
    """

    def __init__(
        self, url: str = "localhost:8001", *, pipeline: str = "boxwise", timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        if url.startswith(("http://", "https://")):
            raise InvalidInput(f"url: expected HOST:PORT of the gRPC port, such as localhost:8001, got {url!r}")
        self.url = url
        self.pipeline = pipeline
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._closed = False
        self._info: PipelineInfo | None = None

    def predict(
        self,
        image: ImageLike,
        *,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_filter: Sequence[int] | None = None,
        timeout_s: float | None = None,
    ) -> Result:
        """Find every object in one picture; arguments left at None are the pipeline's own (see `info`).

        Args:
            image: a path, the bytes of a JPEG, PNG, WebP or BMP file, a uint8 array [height, width, 3] RGB (OpenCV's
                BGR: send `frame[..., ::-1]`) or [height, width] grey, or a PIL image.
            score_threshold: a detection needs at least this score, from 0 to 1.
            iou_threshold: of detections of one class that overlap more than this, from 0 to 1, only the best stays.
            max_detections: keep the best of them, so many.
            class_filter: keep only these classes, by their ids (indices into `info.detector.labels`).
            timeout_s: seconds for this call.

        Raises:
            InvalidInput: a picture that can not be read or decoded, or an argument out of range.
            UnknownPipeline, ContractMismatch, Unavailable, DeadlineExceeded, ServerError: see `BoxwiseError`.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        started = time.monotonic()
        picture = to_tensor(image)
        request = predict_request(
            self.pipeline,
            picture,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            class_filter=class_filter,
        )
        info = self._info or self._fetch_info(timeout_s)
        response = self._infer(request, timeout_s, started)
        return Result.from_arrays(arrays(response), info, picture)

    @property
    def info(self) -> PipelineInfo:
        """What the pipeline says of itself: labels, defaults, limits. Asked for once, then kept."""
        return self._info or self._fetch_info(self.timeout_s)

    def ready(self, timeout_s: float = 5.0) -> bool:
        """Whether the server is there, says that the pipeline is loaded, and does so within `timeout_s` seconds."""
        request = messages().ModelReadyRequest(name=self.pipeline).SerializeToString()
        try:
            response = self._call(self._connect().ready, request, timeout_s, time.monotonic())
        except (Unavailable, UnknownPipeline, DeadlineExceeded):
            return False
        return bool(response.ready)

    def close(self) -> None:
        """Close the connection; calls under way end with an error."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r}, pipeline={self.pipeline!r}, timeout_s={self.timeout_s:g})"

    def _fetch_info(self, timeout_s: float) -> PipelineInfo:
        # Threads that start together may each ask: harmless, and they then wait for no one.
        response = self._infer(info_request(self.pipeline), timeout_s, time.monotonic())
        self._info = PipelineInfo.from_json(text(response, "info"))
        return self._info

    def _infer(self, request: bytes, timeout_s: float, started: float) -> Any:
        return self._call(self._connect().infer, request, timeout_s, started)

    def _call(self, method: Any, request: bytes, timeout_s: float, started: float) -> Any:
        """The answer to a serialised request, within `timeout_s` seconds of `started` (monotonic)."""
        try:
            return method(request, timeout=started + timeout_s - time.monotonic())
        except grpc.RpcError as error:
            raise from_status(
                error.code().name, error.details(), pipeline=self.pipeline, url=self.url, timeout_s=timeout_s
            ) from error

    def _connect(self) -> _Connection:
        with self._lock:
            if self._closed:
                raise BoxwiseError(f"the client of {self.url} is closed: make a new one")
            if self._connection is None:
                self._connection = _Connection.to(self.url)
            return self._connection


@dataclass(frozen=True, slots=True)
class _Connection:
    """A gRPC channel, and the calls on it: each takes a serialised request and a `timeout=` in seconds."""

    channel: Any
    infer: Any
    ready: Any

    @classmethod
    def to(cls, url: str) -> _Connection:
        """Open the channel; gRPC itself connects at the first call, and again whenever the connection was lost."""
        limits = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ]
        channel = grpc.insecure_channel(url, limits)
        return cls(
            channel,
            infer=channel.unary_unary(INFER, response_deserializer=messages().ModelInferResponse.FromString),
            ready=channel.unary_unary(READY, response_deserializer=messages().ModelReadyResponse.FromString),
        )
