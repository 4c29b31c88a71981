"""The client for threads: drives a `Session` with blocking sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from boxwise._balance import Balancer
from boxwise._base import BaseClient
from boxwise._batch import Outcome, Progress, predict_in_threads
from boxwise._blocking import Pool
from boxwise._endpoint import Endpoint, resolve
from boxwise._errors import BoxwiseError
from boxwise._grpc import Status
from boxwise._hedge import Race
from boxwise._image import ImageLike, Transfer
from boxwise._info import PipelineInfo
from boxwise._prediction import Prediction, Scope, Waiting
from boxwise._request import Options
from boxwise._result import Result
from boxwise._steps import Join, Pause, Reply, Resolve, Send, Steps, Work
from boxwise._transport import cancelled, timed_out
from boxwise._video import Frame, VideoSource, predict_frames

T = TypeVar("T")


class Client(BaseClient):
    """One pipeline on one server or several; thread-safe, for the life of a process, forks
    included.

    Nothing is opened before the first call.

    Args:
        target: HOST:PORT of the server's gRPC port; `dns:///NAME:PORT`, whose addresses are servers
            of their own (a headless Kubernetes service); `unix:PATH`; or a list of these. Requests
            go to all of them in turn.
        pipeline: the name it was exported with.
        timeout_s: seconds from a call to its answer, retries included, before `DeadlineExceeded`; a
            call can set its own.
        transfer: how arrays and PIL images travel: "encoded" as JPEG, "raw", "shm" through shared
            memory with a server on this machine, or "auto": raw to this machine, encoded to others.
            Files travel as they are.
        retry: what is sent again, and how often; None for nothing.
        hedge: whether a second server is asked when the first is slow; None for never.
        tls: True for the system's authorities, or a `TLS` with one's own, and a certificate for
            mutual TLS.
        token: sent as a bearer token; or a function that returns the current one.
        metadata: headers of every call, such as the key of a restricted protocol
            (`{"triton-grpc-protocol-infer-key": ...}`).
        connections: to one server, at most.
        keepalive_s: of silence, after which TCP asks whether the server is still there.

    Raises:
        InvalidArgument: an argument that cannot be used.

    Example:
        >>> with Client("localhost:8001") as client:
        ...     for detection in client.predict("street.jpg", score_threshold=0.4):
        ...         print(detection.class_name, detection.confidence, detection.xyxy)
    """

    def predict(
        self,
        image: ImageLike,
        *,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_filter: Sequence[int] | None = None,
        timeout_s: float | None = None,
        transfer: Transfer | None = None,
    ) -> Result:
        """Find every object in one image; arguments left at None are the pipeline's own (see
        `info`).

        Args:
            image: a path, the bytes of a file, an open file, a uint8 array [height, width, 3] RGB
                (OpenCV's BGR: send `frame[..., ::-1]`) or [height, width] grey, or a PIL image.
                Files may be of any format that Pillow opens, and HEIC
                (`pip install "boxwise[heic]"`). It is not copied: do not change an array before the
                result is there.
            score_threshold: a detection needs at least this score, from 0 to 1.
            iou_threshold: of detections of one class that overlap more than this, from 0 to 1, only
                the best stays.
            max_detections: keep the best of them, so many.
            class_filter: keep only these classes, by their ids (indices into
                `info().detector.labels`).
            timeout_s: seconds for this call, instead of the client's.
            transfer: for this call, instead of the client's.

        Raises:
            InvalidImage: an image that cannot be read or decoded.
            InvalidArgument: an argument out of range.
            BoxwiseError: see the tree of errors in `boxwise._errors`.
        """
        options = Options(
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            class_filter=class_filter,
        )
        return self._drive(self._session.predict(image, options, timeout_s, transfer))

    def submit(
        self,
        image: ImageLike,
        *,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_filter: Sequence[int] | None = None,
        timeout_s: float | None = None,
        transfer: Transfer | None = None,
    ) -> Prediction:
        """Begin what `predict` does, in another thread, and go on; the arguments are the same."""
        options = Options(
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            class_filter=class_filter,
        )
        scope = Scope()
        steps = self._session.predict(image, options, timeout_s, transfer)
        return Prediction(self._threads().submit(self._drive, steps, scope), scope)

    def predict_many(
        self,
        images: Iterable[ImageLike],
        *,
        concurrency: int = 8,
        ordered: bool = True,
        on_progress: Progress | None = None,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_filter: Sequence[int] | None = None,
        timeout_s: float | None = None,
        transfer: Transfer | None = None,
    ) -> Iterator[Outcome]:
        """Ask about any number of images, a few at a time; what fails does not stop the rest.

        The images are taken from `images` as they are needed, at most `2 * concurrency` ahead of
        what was handed out. Leaving the loop early cancels what is under way.

        Args:
            images: any iterable, a generator over a million files too.
            concurrency: requests in flight.
            ordered: outcomes come in the order of `images`; False for as they complete.
            on_progress: called after each outcome with the numbers of those that are done and that
                failed.
            score_threshold, iou_threshold, max_detections, class_filter, timeout_s, transfer: as in
                `predict`.

        Yields:
            An `Outcome` for each image: its result, or its error.

        Example:
            >>> for outcome in client.predict_many(Path("photos").glob("*.jpg")):
            ...     print(outcome.image, outcome.error or len(outcome.unwrap()))
        """
        submit = partial(
            self.submit,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            class_filter=class_filter,
            timeout_s=timeout_s,
            transfer=transfer,
        )
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
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_filter: Sequence[int] | None = None,
        timeout_s: float | None = None,
        transfer: Transfer | None = None,
    ) -> Iterator[Frame]:
        """Ask about the frames of a video, in order; PyAV or OpenCV reads it
        (`pip install "boxwise[video]"`).

        Args:
            source: a file, a URL (`rtsp://...`), a camera's number (OpenCV), or any iterable of RGB
                arrays.
            concurrency: frames in flight.
            every: ask about each n-th frame only.
            live: drop frames rather than fall behind: of those that wait, the newest is sent next.
                None for: of URLs of streams and of cameras, yes; of files, no.
            track: number the objects from frame to frame with ByteTrack
                (`pip install "boxwise[track]"`).
            on_progress: called after each frame with the numbers of those that are done and that
                failed.
            score_threshold, iou_threshold, max_detections, class_filter, timeout_s, transfer: as in
                `predict`.

        Yields:
            A `Frame` for each image of the video, turned as the video says that it is to be shown:
            its number, its time, its result or its error. A frame that cannot be decoded has an
            `InvalidImage`; the next one follows.

        Raises:
            InvalidArgument: the source cannot be opened, or what opens it is not installed.
        """
        submit = partial(
            self.submit,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            class_filter=class_filter,
            timeout_s=timeout_s,
            transfer=transfer,
        )
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
        """What the pipeline says of itself: labels, defaults, limits. Asked for again when another
        version answers.
        """
        return self._session.info or self._drive(self._session.describe(timeout_s))

    def ready(self, *, timeout_s: float | None = None) -> bool:
        """Whether a server says that the pipeline is loaded."""
        return self._drive(self._session.ready(timeout_s))

    def live(self, *, timeout_s: float | None = None) -> bool:
        """Whether a server is there at all."""
        return self._drive(self._session.live(timeout_s))

    def close(self) -> None:
        """Close the connections; calls under way end with `Cancelled`."""
        if self._closed:
            return
        if self._pools:
            self._drive(self._session.frames.farewell())
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
        """Do what a generator of `Session` asks for, until it returns."""
        self._check_open()
        answer: Any = None
        failure: BaseException | None = None
        while True:
            try:
                effect = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = failure = None
            try:
                match effect:
                    case Send():
                        answer = self._send(effect, scope)
                    case Work():
                        answer = effect.function()
                    case Pause():
                        _pause(effect.seconds, scope)
                    case Resolve():
                        self._resolve(effect)
                    case Join():
                        answer = _join(effect, scope)
            except BaseException as error:  # noqa: BLE001 - the generator lets go of what it holds, and raises it
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
        addresses = ()  # what was known stays
    balancer.resolved(name, addresses, time.monotonic())
