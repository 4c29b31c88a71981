"""Any number of images, a few in flight: outcomes in order, or as they complete."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from boxwise._errors import BoxwiseError, InvalidArgument
from boxwise._image import ImageLike
from boxwise._result import Result

Progress: TypeAlias = Callable[[int, int], object]
"""Called with the number of completed images, and how many of them failed."""

NOTHING_YET: Any = object()
"""Yielded by a source whose next image is not there yet."""

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one image of `predict_many`.

    Attributes:
        index: its index in the iterable, from 0.
        image: as it was given.
        result: None if it failed.
        error: None if it succeeded.
    """

    index: int
    image: ImageLike
    result: Result | None
    error: BoxwiseError | None

    def unwrap(self) -> Result:
        """Return the result.

        Raises:
            BoxwiseError: the image's error, if it failed.
        """
        if self.result is None:
            raise self.error or BoxwiseError("neither a result nor an error")
        return self.result


class _Call(Protocol):
    """A call in flight: a `Prediction`, or an asyncio task."""

    def done(self) -> bool: ...
    def cancel(self) -> bool: ...


CallT = TypeVar("CallT", bound=_Call)


class _Window(Generic[CallT]):
    """The calls whose outcomes were not returned yet.

    It holds twice as many as are in flight, so that one slow image at the head does not stop those
    behind it immediately.
    """

    def __init__(self, concurrency: int, ordered: bool, on_progress: Progress | None) -> None:
        if concurrency < 1:
            raise InvalidArgument(f"concurrency: expected 1 or more, got {concurrency}")
        self._concurrency = concurrency
        self._ordered = ordered
        self._on_progress = on_progress
        self._taken = self._done = self._failed = 0
        self.entries: deque[tuple[int, ImageLike, CallT]] = deque()

    @property
    def open(self) -> bool:
        """Whether another image may be sent."""
        if len(self.entries) >= 2 * self._concurrency:
            return False
        return sum(not call.done() for _, _, call in self.entries) < self._concurrency

    def add(self, image: ImageLike, call: CallT) -> None:
        self.entries.append((self._taken, image, call))
        self._taken += 1

    def ready(self) -> tuple[int, ImageLike, CallT] | None:
        """Remove and return the next completed call, if there is one."""
        candidates = list(self.entries)[:1] if self._ordered else list(self.entries)
        for entry in candidates:
            if entry[2].done():
                self.entries.remove(entry)
                return entry
        return None

    def outcome(self, index: int, image: ImageLike, result: Result | BoxwiseError) -> Outcome:
        failed = isinstance(result, BoxwiseError)
        self._done += 1
        self._failed += failed
        if self._on_progress is not None:
            self._on_progress(self._done, self._failed)
        if isinstance(result, BoxwiseError):
            return Outcome(index, image, None, result)
        return Outcome(index, image, result, None)

    def cancel(self) -> None:
        for _, _, call in self.entries:
            call.cancel()


def predict_in_threads(
    submit: Callable[[ImageLike], Any],
    images: Iterable[ImageLike],
    concurrency: int,
    *,
    ordered: bool,
    on_progress: Progress | None,
    changed: threading.Condition | None = None,
) -> Iterator[Outcome]:
    """Call `submit`, which returns a `Prediction`, for each image; see `Client.predict_many`.

    A source that yielded `NOTHING_YET` notifies `changed` when it has an image.
    """
    window: _Window[Any] = _Window(concurrency, ordered, on_progress)
    changed = changed or threading.Condition()

    def wake(_: object) -> None:
        with changed:
            changed.notify()

    def outcomes() -> Iterator[Outcome]:
        source: Iterator[ImageLike] | None = iter(images)
        broken: BaseException | None = None
        try:
            while True:
                while source is not None and window.open:
                    try:
                        image = next(source)
                    except StopIteration:
                        source = None
                    except BaseException as error:  # noqa: BLE001 - raised below, after the earlier outcomes
                        source, broken = None, error
                    else:
                        if image is NOTHING_YET:
                            break
                        call = submit(image)
                        window.add(image, call)
                        call.add_done_callback(wake)
                if (entry := window.ready()) is not None:
                    index, image, call = entry
                    yield window.outcome(index, image, _settled(call))
                elif window.entries or source is not None:
                    with changed:
                        # A completion between the check and the wait is noticed at the next poll.
                        changed.wait(_POLL_S)
                elif broken is not None:
                    raise broken
                else:
                    return
        finally:
            window.cancel()

    return outcomes()


def _settled(call: Any) -> Result | BoxwiseError:
    try:
        result: Result = call.result()
    except BoxwiseError as error:
        return error
    return result


async def predict_in_tasks(
    submit: Callable[[ImageLike], asyncio.Task[Result]],
    images: Iterable[ImageLike] | AsyncIterable[ImageLike],
    concurrency: int,
    *,
    ordered: bool,
    on_progress: Progress | None,
) -> AsyncIterator[Outcome]:
    """Do the same with tasks; see `AsyncClient.predict_many`."""
    window: _Window[asyncio.Task[Result]] = _Window(concurrency, ordered, on_progress)
    source: AsyncIterator[ImageLike] | None = (
        aiter(images) if isinstance(images, AsyncIterable) else _asynchronous(images)
    )
    coming: asyncio.Future[ImageLike] | None = None
    broken: BaseException | None = None
    try:
        while True:
            if source is not None and coming is None and window.open:
                coming = asyncio.ensure_future(anext(source))
            entry = window.ready()
            if entry is not None:
                index, image, task = entry
                yield window.outcome(index, image, await _settled_task(task))
                continue
            waiting = {task for _, _, task in window.entries if not task.done()} | (
                {coming} if coming else set()
            )
            if not waiting:
                break
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if coming is not None and coming.done():
                try:
                    image = coming.result()
                except StopAsyncIteration:
                    source = None
                except BaseException as error:  # noqa: BLE001 - raised below, after the earlier outcomes
                    source, broken = None, error
                else:
                    window.add(image, submit(image))
                coming = None
        if broken is not None:
            raise broken
    finally:
        window.cancel()
        if coming is not None:
            coming.cancel()


async def _asynchronous(images: Iterable[ImageLike]) -> AsyncIterator[ImageLike]:
    for image in images:
        yield image


async def _settled_task(task: asyncio.Task[Result]) -> Result | BoxwiseError:
    try:
        return await task
    except BoxwiseError as error:
        return error
