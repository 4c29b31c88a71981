"""`AsyncClient` behind the methods of `Client`, so that one test holds for both."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from boxwise import AsyncClient, Cancelled, Client


class Waiting:
    """An `AsyncClient` on a loop in a thread of its own; every call waits for it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.client = AsyncClient(*args, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        def call(*args: Any, **options: Any) -> Any:
            answer = asyncio.run_coroutine_threadsafe(
                _begin(method, args, options), self._loop
            ).result()
            if isinstance(answer, AsyncIterator):
                return self._iterate(answer)
            if isinstance(answer, asyncio.Task):
                return _Submitted(answer, self._loop)
            return answer

        return call

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.client.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __repr__(self) -> str:
        return repr(self.client)

    def _iterate(self, answers: AsyncIterator[Any]) -> Iterator[Any]:
        async def take() -> Any:
            return await anext(answers)

        try:
            while True:
                try:
                    yield asyncio.run_coroutine_threadsafe(take(), self._loop).result()
                except StopAsyncIteration:
                    return
        finally:
            asyncio.run_coroutine_threadsafe(answers.aclose(), self._loop).result()  # type: ignore[attr-defined]


class _Submitted:
    def __init__(self, task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._task = task
        self._loop = loop

    def result(self, timeout_s: float | None = None) -> Any:
        async def wait() -> Any:
            return await asyncio.wait_for(asyncio.shield(self._task), timeout_s)

        try:
            return asyncio.run_coroutine_threadsafe(wait(), self._loop).result()
        except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
            raise Cancelled("cancelled") from error

    def done(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)


async def _begin(method: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    answer = method(*args, **options)
    return await answer if asyncio.iscoroutine(answer) else answer


CLIENTS = {"threads": Client, "asyncio": Waiting}
