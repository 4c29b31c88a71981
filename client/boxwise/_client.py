"""The client for threads: drives a `Session` with blocking sockets."""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from boxwise._balance import Balancer
from boxwise._blocking import Connection, Pool
from boxwise._endpoint import Endpoint, resolve
from boxwise._errors import BoxwiseError, Cancelled
from boxwise._grpc import Status, reply
from boxwise._image import ImageLike, Transfer
from boxwise._info import PipelineInfo
from boxwise._many import Outcome, Progress, predict_in_threads
from boxwise._policy import Hedge, Retry
from boxwise._result import Result
from boxwise._security import TLS, Token
from boxwise._session import DEFAULT_TIMEOUT_S, Options, Pause, Reply, Resolve, Send, Session, Steps, Work
from boxwise._transport import cancelled, timed_out
from boxwise._video import Frame, VideoSource, predict_frames

T = TypeVar("T")


class Client:
    """One pipeline on one server or several; thread-safe, for the life of a process, forks included.

    Nothing is opened before the first call.

    Args:
        target: HOST:PORT of the server's gRPC port; `dns:///NAME:PORT`, whose addresses are servers of their own
            (a headless Kubernetes service); `unix:PATH`; or a list of these. Requests go to all of them in turn.
        pipeline: the name it was exported with.
        timeout_s: seconds from a call to its answer, retries included, before `DeadlineExceeded`; a call can set its
            own.
        transfer: how arrays and PIL images travel: "encoded" as JPEG, "raw", "shm" through shared memory with a server
            on this machine, or "auto": raw to this machine, encoded to others. Files travel as they are.
        retry: what is sent again, and how often; None for nothing.
        hedge: whether a second server is asked when the first is slow; None for never.
        tls: True for the system's authorities, or a `TLS` with one's own, and a certificate for mutual TLS.
        token: sent as a bearer token; or a function that returns the current one.
        metadata: headers of every call, such as the key of a restricted protocol
            (`{"triton-grpc-protocol-infer-key": ...}`).
        connections: to one server, at most.
        keepalive_s: of silence, after which TCP asks whether the server is still there.

    Raises:
        InvalidArgument: an argument that can not be used.

    Example:
        >>> with Client("localhost:8001") as client:
        ...     for detection in client.predict("street.jpg", score_threshold=0.4):
        ...         print(detection.class_name, detection.confidence, detection.xyxy)
    """

    def __init__(
        self,
        target: str | Sequence[str] = "localhost:8001",
        *,
        pipeline: str = "boxwise",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transfer: Transfer = "auto",
        retry: Retry | None = Retry(),  # noqa: B008 - frozen
        hedge: Hedge | None = None,
        tls: TLS | bool = False,
        token: Token | None = None,
        metadata: Mapping[str, str] | None = None,
        connections: int = 64,
        keepalive_s: float = 10.0,
    ) -> None:
        self._session = Session(
            target,
            pipeline=pipeline,
            timeout_s=timeout_s,
            transfer=transfer,
            retry=retry,
            hedge=hedge,
            tls=tls,
            token=token,
            metadata=metadata,
            connections=connections,
            keepalive_s=keepalive_s,
        )
        self._closed = False
        self._reset()
        _clients.add(self)

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
        """Find every object in one picture; arguments left at None are the pipeline's own (see `info`).

        Args:
            image: a path, the bytes of a JPEG, PNG, WebP or BMP file, an open file, a uint8 array [height, width, 3]
                RGB (OpenCV's BGR: send `frame[..., ::-1]`) or [height, width] grey, or a PIL image. It is not copied:
                do not change an array before the result is there.
            score_threshold: a detection needs at least this score, from 0 to 1.
            iou_threshold: of detections of one class that overlap more than this, from 0 to 1, only the best stays.
            max_detections: keep the best of them, so many.
            class_filter: keep only these classes, by their ids (indices into `info().detector.labels`).
            timeout_s: seconds for this call, instead of the client's.
            transfer: for this call, instead of the client's.

        Raises:
            InvalidImage: a picture that can not be read or decoded.
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
        scope = _Scope()
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
        """Ask about any number of pictures, a few at a time; what fails does not stop the rest.

        The pictures are taken from `images` as they are needed, at most `2 * concurrency` ahead of what was handed out.
        Leaving the loop early cancels what is under way.

        Args:
            images: any iterable, a generator over a million files too.
            concurrency: requests in flight.
            ordered: outcomes come in the order of `images`; False for as they complete.
            on_progress: called after each outcome with the numbers of those that are done and that failed.
            score_threshold, iou_threshold, max_detections, class_filter, timeout_s, transfer: as in `predict`.

        Yields:
            An `Outcome` for each picture: its result, or its error.

        Example:
            >>> for outcome in client.predict_many(Path("photos").glob("*.jpg")):
            ...     print(outcome.image, outcome.error or len(outcome.unwrap()))
        """

        def submit(image: ImageLike) -> Prediction:
            return self.submit(
                image,
                score_threshold=score_threshold,
                iou_threshold=iou_threshold,
                max_detections=max_detections,
                class_filter=class_filter,
                timeout_s=timeout_s,
                transfer=transfer,
            )

        return predict_in_threads(submit, images, concurrency, ordered=ordered, on_progress=on_progress)

    def predict_video(
        self,
        source: VideoSource,
        *,
        concurrency: int = 4,
        every: int = 1,
        live: bool | None = None,
        track: bool = False,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_filter: Sequence[int] | None = None,
        timeout_s: float | None = None,
        transfer: Transfer | None = None,
    ) -> Iterator[Frame]:
        """Ask about the frames of a video, in order; PyAV or OpenCV reads it (`pip install "boxwise[video]"`).

        Args:
            source: a file, a URL (`rtsp://...`), a camera's number (OpenCV), or any iterable of RGB arrays.
            concurrency: frames in flight.
            every: ask about each n-th frame only.
            live: drop frames rather than fall behind: of those that wait, the newest is sent next. None for: of URLs of
                streams and of cameras, yes; of files, no.
            track: number the objects from frame to frame with ByteTrack (`pip install "boxwise[track]"`).
            score_threshold, iou_threshold, max_detections, class_filter, timeout_s, transfer: as in `predict`.

        Yields:
            A `Frame` for each picture that was asked about: its number, its time, its result or its error.

        Raises:
            InvalidArgument: the source can not be opened, or what opens it is not installed.
        """

        def submit(image: ImageLike) -> Prediction:
            return self.submit(
                image,
                score_threshold=score_threshold,
                iou_threshold=iou_threshold,
                max_detections=max_detections,
                class_filter=class_filter,
                timeout_s=timeout_s,
                transfer=transfer,
            )

        return predict_frames(submit, source, concurrency, every=every, live=live, track=track)

    def info(self, *, timeout_s: float | None = None) -> PipelineInfo:
        """What the pipeline says of itself: labels, defaults, limits. Asked for once, then kept."""
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
            self._drive(self._session.farewell())
        self._closed = True
        for pool in tuple(self._pools.values()):
            pool.close()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._session)!r}, pipeline={self._session.pipeline!r})"

    def _reset(self) -> None:
        self._pools: dict[Endpoint, Pool] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def _forked(self) -> None:
        """In the child of a fork: leave the parent's connections to the parent."""
        self._reset()
        self._session.forget()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._closed:
                raise _closed(self._session)
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._session.wire.connections, "boxwise")
            return self._executor

    def _drive(self, steps: Steps[T], scope: _Scope | None = None) -> T:
        """Do what a generator of `Session` asks for, until it returns."""
        if self._closed:
            raise _closed(self._session)
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
            except BaseException as error:  # noqa: BLE001 - the generator lets go of what it holds, and raises it
                failure = error

    def _send(self, send: Send, scope: _Scope | None) -> Reply:
        if send.other is not None:
            return _Race(self, send, scope).run()
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
            threading.Thread(target=_look_up, args=(balancer, effect.name), name="boxwise-dns", daemon=True).start()
            return
        future = self._threads().submit(resolve, effect.name)
        try:
            addresses = future.result(effect.deadline - time.monotonic())
        except TimeoutError:
            raise timed_out(f"{effect.name} was not resolved in time") from None
        except OSError as error:
            raise Status("UNAVAILABLE", f"{effect.name}: {error.strerror}", local=True, processed=False) from error
        self._session.balancer.resolved(effect.name, addresses, time.monotonic())


class Prediction:
    """A call under way, from `Client.submit`."""

    def __init__(self, future: Future[Result], scope: _Scope) -> None:
        self._future = future
        self._scope = scope

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the result.

        Args:
            timeout_s: seconds to wait here; the call itself has its own deadline, and goes on.

        Raises:
            TimeoutError: it is not there yet.
            BoxwiseError: as `predict`; `Cancelled` after `cancel`.
        """
        try:
            return self._future.result(timeout_s)
        except CancelledError:
            raise Cancelled("the call was cancelled before it was sent") from None

    def done(self) -> bool:
        """Whether `result` would return or raise at once."""
        return self._future.done()

    def cancel(self) -> bool:
        """End the call, on the server too: stages that have not begun do not run. False where it was over already."""
        if self._future.done():
            return False
        self._future.cancel()
        self._scope.cancel()
        return True

    def add_done_callback(self, function: Callable[[Prediction], object]) -> None:
        """Call `function` with this when it is done, in the thread that did it, or at once."""
        self._future.add_done_callback(lambda _: function(self))


class _Scope:
    """What a call holds at the moment, so that another thread can end it."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._held: set[Connection] = set()
        self._lock = threading.Lock()

    def cancel(self) -> None:
        with self._lock:
            self.cancelled.set()
            for connection in self._held:
                connection.abort()

    def holding(self, connection: Connection) -> _Holding:
        return _Holding(self, connection)

    def add(self, connection: Connection) -> None:
        with self._lock:
            if self.cancelled.is_set():
                raise cancelled()
            self._held.add(connection)

    def remove(self, connection: Connection) -> None:
        with self._lock:
            self._held.discard(connection)


class _Holding:
    def __init__(self, scope: _Scope, connection: Connection) -> None:
        self._scope = scope
        self._connection = connection

    def __enter__(self) -> None:
        self._scope.add(self._connection)

    def __exit__(self, *_: object) -> None:
        self._scope.remove(self._connection)


class _Race:
    """A call to one server, and after a while to another too."""

    def __init__(self, client: Client, send: Send, scope: _Scope | None) -> None:
        self._client = client
        self._send = send
        self._scope = scope
        self._running: dict[int, tuple[Connection, Pool, Any]] = {}

    def run(self) -> Reply:
        send = self._send
        hedge_at = time.monotonic() + send.after_s
        waiting_for: Endpoint | None = send.other
        try:
            self._start(send.server)
            while True:
                until = send.deadline if waiting_for is None else min(hedge_at, send.deadline)
                ready = self._readable(until - time.monotonic())
                if ready:
                    answered = self._read(ready)
                    if answered is not None:
                        return answered
                elif time.monotonic() >= send.deadline:
                    raise timed_out("no answer in time")
                elif waiting_for is not None:
                    other, waiting_for = waiting_for, None
                    if send.allowed is None or send.allowed():
                        try:
                            self._start(other)
                        except Status:
                            continue  # the first may still answer
        finally:
            for connection, pool, _ in self._running.values():
                connection.close()  # which tells the loser's server to stop
                self._finish(connection, pool)

    def _start(self, server: Endpoint) -> None:
        pool = self._client._pool(server)
        connection = pool.take(self._send.deadline)
        try:
            if self._scope is not None:
                self._scope.add(connection)
            stream = connection.begin(self._send.call, self._send.deadline)
        except BaseException:
            connection.close()
            self._finish(connection, pool)
            raise
        self._running[connection.fileno()] = (connection, pool, stream)

    def _readable(self, timeout_s: float) -> list[int]:
        pending = [number for number, (connection, _, _) in self._running.items() if connection.pending()]
        if pending:
            return pending
        poll = select.poll()
        for number in self._running:
            poll.register(number, select.POLLIN)
        return [number for number, _ in poll.poll(max(0.0, timeout_s) * 1e3)]

    def _read(self, ready: list[int]) -> Reply | None:
        for number in ready:
            connection, pool, stream = self._running[number]
            try:
                if stream not in connection.receive(self._send.deadline):
                    continue
                answer = reply(stream), pool.endpoint
            except Status:
                del self._running[number]
                connection.close()
                self._finish(connection, pool)
                if not self._running:
                    raise
                continue
            del self._running[number]
            self._finish(connection, pool)
            return answer
        return None

    def _finish(self, connection: Connection, pool: Pool) -> None:
        if self._scope is not None:
            self._scope.remove(connection)
        pool.give(connection)


def _closed(session: Session) -> BoxwiseError:
    return Cancelled(f"the client of {session} is closed: make a new one")


def _pause(seconds: float, scope: _Scope | None) -> None:
    if scope is None:
        time.sleep(seconds)
    elif scope.cancelled.wait(seconds):
        raise cancelled()


def _look_up(balancer: Balancer, name: Endpoint) -> None:
    try:
        addresses = resolve(name)
    except OSError:
        addresses = ()  # what was known stays
    balancer.resolved(name, addresses, time.monotonic())


_clients: weakref.WeakSet[Any] = weakref.WeakSet()


def _after_fork() -> None:
    for client in tuple(_clients):
        client._forked()


os.register_at_fork(after_in_child=_after_fork)
