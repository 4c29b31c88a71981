"""A load while a test does something else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from boxwise_perf.load import Load, Samples, drive

T = TypeVar("T")
_MOST_S = 3600.0


class Background(Generic[T]):
    """Sends requests from its beginning to its end as a context manager.

    Args:
        call: sends one, and returns the number of boxes.
        requests: sent in turn.
        load: closed or open loop.

    Attributes:
        start: the `time.perf_counter()` of second 0 of `samples`.
        samples: every request; there at the end.
    """

    samples: Samples

    def __init__(self, call: Callable[[T], int], requests: Sequence[T], load: Load) -> None:
        self._stop = threading.Event()
        self._begun: Future[float] = Future()
        self._pool = ThreadPoolExecutor(1)
        self._run = self._pool.submit(
            drive, call, requests, load, _MOST_S, on_start=self._begun.set_result, stop=self._stop
        )

    def __enter__(self) -> Background[T]:
        self.start = self._begun.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._pool.shutdown()
        if error is None:
            self.samples = self._run.result()
