"""The client for asyncio: runs the steps of a `Session` on an event loop."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from boxwise._asynchronous import Pool
from boxwise._base import BaseClient
from boxwise._batch import Outcome, Progress, predict_in_tasks
from boxwise._endpoint import Endpoint, resolve
from boxwise._errors import BoxwiseError
from boxwise._grpc import Status
from boxwise._image import ImageLike
from boxwise._info import PipelineInfo
from boxwise._options import CallOptions
from boxwise._result import Result
from boxwise._steps import Join, Pause, Reply, Resolve, Send, Steps, Work
from boxwise._transport import cancelled, timed_out
from boxwise._video import Frame, VideoSource, predict_frames_async

T = TypeVar("T")


class AsyncClient(BaseClient):
    """The same as `Client`, for asyncio: the same arguments and methods, awaited.

    Cancelling the task of a call ends the call on the server too. Calls share connections.

    >>> async with AsyncClient("localhost:8001") as client:
    ...     results = await asyncio.gather(*(client.predict(path) for path in paths))
    """

    async def predict(
        self,
        image: ImageLike,
        **options: Unpack[CallOptions],
    ) -> Result:
        """Find every object in one image; see `Client.predict`."""
        return await self._drive(self._session.predict(image, options))

    def submit(
        self,
        image: ImageLike,
        **options: Unpack[CallOptions],
    ) -> asyncio.Task[Result]:
        """Start `predict` as a task."""
        return asyncio.create_task(self.predict(image, **options))

    def predict_many(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        *,
        concurrency: int = 8,
        ordered: bool = True,
        on_progress: Progress | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncIterator[Outcome]:
        """Process any number of images, a few concurrently; see `Client.predict_many`."""
        submit = partial(self.submit, **options)
        return predict_in_tasks(
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
    ) -> AsyncIterator[Frame]:
        """Process the frames of a video in order; see `Client.predict_video`."""
        submit = partial(self.submit, **options)
        return predict_frames_async(
            submit,
            source,
            concurrency,
            every=every,
            live=live,
            track=track,
            on_progress=on_progress,
        )

    async def info(self, *, timeout_s: float | None = None) -> PipelineInfo:
        """Return the pipeline's labels, defaults and limits; see `Client.info`."""
        known = self._session.info
        return known if known is not None else await self._drive(self._session.describe(timeout_s))

    async def ready(self, *, timeout_s: float | None = None) -> bool:
        """Return whether a server reports the pipeline as loaded."""
        return await self._drive(self._session.ready(timeout_s))

    async def live(self, *, timeout_s: float | None = None) -> bool:
        """Return whether a server responds at all."""
        return await self._drive(self._session.live(timeout_s))

    async def close(self) -> None:
        """Close the connections; calls in flight end with `Cancelled`."""
        if self._closed:
            return
        if self._pools:
            await self._drive(self._session.frames.close())
        self._closed = True
        for pool in self._pools.values():
            pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _reset(self) -> None:
        self._pools: dict[Endpoint, Pool] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: weakref.WeakSet[asyncio.Task[None]] = weakref.WeakSet()

    async def _drive(self, steps: Steps[T]) -> T:
        """Run the steps of a call until it returns."""
        self._check_open()
        loop = asyncio.get_running_loop()
        # In a second asyncio.run: connections belong to the loop that opened them.
        if self._loop is not loop:
            self._reset()
            self._loop = loop
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
                        outcome = await self._send(effect)
                    case Work():
                        outcome = await asyncio.to_thread(effect.function)
                    case Pause():
                        await asyncio.sleep(effect.seconds)
                    case Resolve():
                        await self._resolve(effect)
                    case Join():
                        outcome = await _join(effect)
            except BaseException as error:  # noqa: BLE001 - the generator cleans up and raises it
                failure = error

    async def _send(self, send: Send) -> Reply:
        if send.other is not None:
            return await self._race(send, send.other)
        return await self._pool(send.server).call(send.call, send.deadline), send.server

    async def _race(self, send: Send, other: Endpoint) -> Reply:
        first = asyncio.ensure_future(self._pool(send.server).call(send.call, send.deadline))
        calls = {first: send.server}
        try:
            await asyncio.wait(calls, timeout=send.after_s)
            if not first.done() and (send.allowed is None or send.allowed()):
                calls[asyncio.ensure_future(self._pool(other).call(send.call, send.deadline))] = (
                    other
                )
            while True:
                done, running = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                for call in done:
                    if call.exception() is None or not running:
                        return call.result(), calls[call]
                    del calls[call]
        finally:
            for call in calls:
                if not call.cancel() and not call.cancelled():
                    call.exception()  # or asyncio warns that nobody retrieved it

    def _pool(self, server: Endpoint) -> Pool:
        pool = self._pools.get(server)
        if pool is None:
            if self._closed:
                raise cancelled()
            pool = self._pools[server] = Pool(server, self._session.wire)
        return pool

    async def _resolve(self, effect: Resolve) -> None:
        if not effect.wait:
            task = asyncio.create_task(self._look_up(effect.name))
            self._tasks.add(task)
            return
        try:
            async with asyncio.timeout(effect.deadline - time.monotonic()):
                addresses = await asyncio.to_thread(resolve, effect.name)
        except TimeoutError:
            raise timed_out(f"{effect.name} was not resolved in time") from None
        except OSError as error:
            raise Status(
                "UNAVAILABLE", f"{effect.name}: {error.strerror}", local=True, processed=False
            ) from error
        self._session.balancer.resolved(effect.name, addresses, time.monotonic())

    async def _look_up(self, name: Endpoint) -> None:
        try:
            addresses = await asyncio.to_thread(resolve, name)
        except OSError:
            addresses = ()  # keep the known ones
        self._session.balancer.resolved(name, addresses, time.monotonic())


async def _join(join: Join) -> BoxwiseError | None:
    try:
        async with asyncio.timeout(join.deadline - time.monotonic()):
            return await asyncio.wrap_future(join.future)
    except TimeoutError:
        raise timed_out("no info in time") from None
