"""The client for threads: runs the steps of a `Session` with blocking sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from boxwise._balance import Balancer
from boxwise._base import BaseClient
from boxwise._batch import Outcome, Progress, predict_in_threads
from boxwise._blocking import Pool
from boxwise._endpoint import Endpoint, resolve
from boxwise._errors import BoxwiseError
from boxwise._grpc import Status
from boxwise._hedge import Race
from boxwise._image import ImageLike
from boxwise._info import PipelineInfo
from boxwise._options import CallOptions
from boxwise._prediction import Prediction, Scope, Waiting
from boxwise._result import Result
from boxwise._steps import Join, Pause, Reply, Resolve, Send, Steps, Work
from boxwise._transport import cancelled, timed_out
from boxwise._video import Frame, VideoSource, predict_frames

T = TypeVar("T")


class Client(BaseClient):
    """A client of one pipeline on one or several servers, for threads.

    It is thread-safe, survives forks, and opens nothing before its first call. Keep one per
    process.

    Args:
        target: HOST:PORT of the server's gRPC port; `dns:///NAME:PORT`, each address of which is a
            server (a headless Kubernetes service); `unix:PATH`; or a list of these. Requests
            rotate.
        pipeline: name of the pipeline.
        timeout_s: deadline of a call in seconds, retries included; a call can set its own.
        transfer: how arrays and PIL images travel: "encoded" as JPEG, "raw", "shm" through shared
            memory with a server on this machine, or "auto": raw to this machine, encoded to others.
            Files travel as they are.
        retry: how often a failed request is sent again; None for never.
        hedge: when a second server is called because the first is slow; None for never.
        tls: True for the system's authorities, or a `TLS`.
        token: bearer token, or a function that returns the current one.
        metadata: headers of every call, such as the key of a restricted protocol
            (`{"triton-grpc-protocol-infer-key": ...}`).
        connections: maximum number of sockets per server.
        keepalive_s: seconds of silence before TCP keepalive probes the server.

    Raises:
        InvalidArgument: an argument is invalid.

    Example:
        >>> with Client("localhost:8001") as client:
        ...     for detection in client.predict("street.jpg", score_threshold=0.4):
        ...         print(detection.class_name, detection.confidence, detection.xyxy)
    """

    def predict(
        self,
        image: ImageLike,
        **options: Unpack[CallOptions],
    ) -> Result:
        """Find every object in one image; arguments left at None are the pipeline's defaults.

        Args:
            image: a path, the bytes of a file, an open file, a PIL image, or a uint8 array [height,
                width, 3] RGB (OpenCV's BGR: send `frame[..., ::-1]`) or [height, width] grey. Files
                may have any format that Pillow opens, and HEIC (`pip install "boxwise[heic]"`). An
                array is not copied: do not change it before you have the result.
            options: of this request `score_threshold` (minimum score, 0 to 1), `iou_threshold` (of
                two boxes of one class whose IoU exceeds it, 0 to 1, the better stays),
                `max_detections` (the best are kept) and `class_filter` (ids of classes to keep,
                indices into `info().detector.labels`); of this call `timeout_s` (seconds) and
                `transfer`, instead of the client's.

        Raises:
            InvalidImage: the image cannot be decoded or is over a limit.
            InvalidArgument: an option is out of range.
            TypeError: there is no such option.
            BoxwiseError: any other failure, by its subclass.
        """
        return self._drive(self._session.predict(image, options))

    def submit(
        self,
        image: ImageLike,
        **options: Unpack[CallOptions],
    ) -> Prediction:
        """Start `predict` in another thread and return a handle; the arguments are the same."""
        scope = Scope()
        steps = self._session.predict(image, options)
        return Prediction(self._threads().submit(self._drive, steps, scope), scope)

    def predict_many(
        self,
        images: Iterable[ImageLike],
        *,
        concurrency: int = 8,
        ordered: bool = True,
        on_progress: Progress | None = None,
        **options: Unpack[CallOptions],
    ) -> Iterator[Outcome]:
        """Process any number of images, a few concurrently; failures do not stop the others.

        `images` is read as needed, at most `2 * concurrency` ahead. Leaving the loop early cancels
        what is in flight.

        Args:
            images: any iterable.
            concurrency: requests in flight.
            ordered: return outcomes in the order of `images`; False: as they complete.
            on_progress: called after each outcome with the numbers of completed and failed images.
            options: as for `predict`.

        Yields:
            An `Outcome` per image: its result, or its error.

        Example:
            >>> for outcome in client.predict_many(Path("photos").glob("*.jpg")):
            ...     print(outcome.image, outcome.error or len(outcome.unwrap()))
        """
        submit = partial(self.submit, **options)
        return predict_in_threads(
            submit, images, concurrency, ordered=ordered, on_progress=on_progress
        )

    def predict_video(
        self,
        source: VideoSource,
        *,
        concurrency: int = 4,
        every: int = 1,
        live: bool | None = None,
        track: bool = False,
        on_progress: Progress | None = None,
        **options: Unpack[CallOptions],
    ) -> Iterator[Frame]:
        """Process the frames of a video in order; needs `pip install "boxwise[video]"`.

        Args:
            source: a file, a URL (`rtsp://...`), a camera's number (OpenCV), or an iterable of RGB
                arrays.
            concurrency: frames in flight.
            every: process only every n-th frame.
            live: drop frames rather than fall behind; the newest queued frame is sent next. None:
                True for streams and cameras, False for files.
            track: number objects across frames with ByteTrack (`pip install "boxwise[track]"`).
            on_progress: called after each frame with the numbers of completed and failed frames.
            options: as for `predict`.

        Yields:
            A `Frame` per image, rotated as the video states: number, time, result or error. A frame
            that cannot be decoded has an `InvalidImage`; the next one follows.

        Raises:
            InvalidArgument: the source cannot be opened, or the library for it is not installed.
        """
        submit = partial(self.submit, **options)
        return predict_frames(
            submit,
            source,
            concurrency,
            every=every,
            live=live,
            track=track,
            on_progress=on_progress,
        )

    def info(self, *, timeout_s: float | None = None) -> PipelineInfo:
        """Return the pipeline's labels, defaults and limits, cached for its version."""
        return self._session.info or self._drive(self._session.describe(timeout_s))

    def ready(self, *, timeout_s: float | None = None) -> bool:
        """Return whether a server reports the pipeline as loaded."""
        return self._drive(self._session.ready(timeout_s))

    def live(self, *, timeout_s: float | None = None) -> bool:
        """Return whether a server responds at all."""
        return self._drive(self._session.live(timeout_s))

    def close(self) -> None:
        """Close the connections; calls in flight end with `Cancelled`."""
        if self._closed:
            return
        if self._pools:
            self._drive(self._session.frames.close())
        self._closed = True
        for pool in tuple(self._pools.values()):
            pool.close()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _reset(self) -> None:
        self._pools: dict[Endpoint, Pool] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            self._check_open()
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._session.wire.connections, "boxwise")
            return self._executor

    def _drive(self, steps: Steps[T], scope: Scope | None = None) -> T:
        """Run the steps of a call until it returns."""
        self._check_open()
        outcome: Any = None
        failure: BaseException | None = None
        while True:
            try:
                effect = steps.send(outcome) if failure is None else steps.throw(failure)
            except StopIteration as end:
                value: T = end.value
                return value
            outcome = failure = None
            try:
                match effect:
                    case Send():
                        outcome = self._send(effect, scope)
                    case Work():
                        outcome = effect.function()
                    case Pause():
                        _pause(effect.seconds, scope)
                    case Resolve():
                        self._resolve(effect)
                    case Join():
                        outcome = _join(effect, scope)
            except BaseException as error:  # noqa: BLE001 - the generator cleans up and raises it
                failure = error

    def _send(self, send: Send, scope: Scope | None) -> Reply:
        if send.other is not None:
            return Race(self._pool, send, scope).run()
        pool = self._pool(send.server)
        connection = pool.take(send.deadline)
        try:
            if scope is None:
                return connection.call(send.call, send.deadline), send.server
            with scope.holding(connection):
                return connection.call(send.call, send.deadline), send.server
        finally:
            pool.give(connection)

    def _pool(self, server: Endpoint) -> Pool:
        pool = self._pools.get(server)
        if pool is None:
            with self._lock:
                if self._closed:
                    raise cancelled()
                pool = self._pools.setdefault(server, Pool(server, self._session.wire))
        return pool

    def _resolve(self, effect: Resolve) -> None:
        if not effect.wait:
            balancer = self._session.balancer
            threading.Thread(
                target=_look_up, args=(balancer, effect.name), name="boxwise-dns", daemon=True
            ).start()
            return
        future = self._threads().submit(resolve, effect.name)
        try:
            addresses = future.result(effect.deadline - time.monotonic())
        except TimeoutError:
            raise timed_out(f"{effect.name} was not resolved in time") from None
        except OSError as error:
            raise Status(
                "UNAVAILABLE", f"{effect.name}: {error.strerror}", local=True, processed=False
            ) from error
        self._session.balancer.resolved(effect.name, addresses, time.monotonic())


def _pause(seconds: float, scope: Scope | None) -> None:
    if scope is None:
        time.sleep(seconds)
    elif scope.cancelled.wait(seconds):
        raise cancelled()


def _join(join: Join, scope: Scope | None) -> BoxwiseError | None:
    waiting = Waiting()
    join.future.add_done_callback(lambda _: waiting.set())
    with scope.holding(waiting) if scope else nullcontext():
        waiting.wait(max(0.0, join.deadline - time.monotonic()))
    if join.future.done():
        return join.future.result()
    raise cancelled() if scope and scope.cancelled.is_set() else timed_out("no info in time")


def _look_up(balancer: Balancer, name: Endpoint) -> None:
    try:
        addresses = resolve(name)
    except OSError:
        addresses = ()  # keep the known ones
    balancer.resolved(name, addresses, time.monotonic())
