"""A bounded queue of requests and the worker threads that serve it: a request that finds it full,
or would be queued for too long, is rejected immediately.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Generic, Literal, TypeVar

from boxwise_contract.refusals import queue_full, queue_slow
from boxwise_runtime.load_board import Load, LoadBoard

T = TypeVar("T")
Overload = Literal["queue", "wait"]  # the queue is full; the wait would be too long

MAX_BYTES = 64 << 20  # queued in one process; a single request may be larger
_LATEST = 0.2  # weight of the latest request in the moving average of service times
_LOOK_EVERY_S = 0.005  # at the load of other processes, while they should take the next request
_LOOK_AHEAD_EVERY_S = 0.001  # at the next stages, while they are busy


@dataclass(frozen=True)
class QueueLimits:
    """The bounds of a queue.

    Attributes:
        max_queue: requests queued in one process, beside those in flight.
        max_wait_ms: milliseconds that a request may be queued. If recent service times predict
            more, it is rejected immediately; if it has been queued for twice as long, then.
    """

    max_queue: int = 64
    max_wait_ms: int = 10_000

    def message(self, why: Overload) -> str:
        """What a request that is refused returns."""
        return queue_full(self.max_queue) if why == "queue" else queue_slow(self.max_wait_ms)


QUEUE_LIMITS = tuple(field.name for field in fields(QueueLimits))
QUEUE_PARAMETERS = (*QUEUE_LIMITS, "downstream")


def take_queue(parameters: dict[str, str]) -> tuple[QueueLimits, list[str]]:
    """Remove the limits and the downstream models from a model's parameters and return them; the
    rest are fields of its stage.
    """
    given = {
        name: json.loads(parameters.pop(name)) for name in QUEUE_PARAMETERS if name in parameters
    }
    downstream = given.pop("downstream", [])
    return QueueLimits(**given), downstream


class RequestQueue(Generic[T]):
    """A first-in, first-out queue and its worker threads.

    Args:
        work: serves one request.
        refuse: rejects one, for a reason.
        limits: of the queue.
        workers: number of threads.
        board: where the processes of this model publish their load.
        ahead_busy: whether the next stages are busy; requests then stay queued here.

    Attributes:
        waited_s: seconds that all requests together were queued.
        worked_s: seconds that they were in flight.
    """

    def __init__(
        self,
        work: Callable[[T], None],
        refuse: Callable[[T, Overload], None],
        limits: QueueLimits,
        workers: int,
        board: LoadBoard,
        ahead_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._work, self._refuse, self._limits, self._board, self._ahead_busy = (
            work,
            refuse,
            limits,
            board,
            ahead_busy,
        )
        self._waiting: deque[tuple[int, int, T]] = deque()  # queued at (ns), bytes
        self._bytes = 0
        self._begun: list[int] = []  # start times (ns) of the requests in flight
        self._takes_s = 0.0  # recent seconds from one start of a worker to its next
        self.waited_s = self.worked_s = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._workers = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """The number of queued requests."""
        return len(self._waiting)

    @contextmanager
    def here(self) -> Iterator[bool]:
        """Yield whether the calling thread should serve its request itself, within the block: the
        queue is empty and another process takes the next request.
        """
        with self._changed:
            idle = not self._load and len(self._workers) == 1
            begun = (
                self._begin()
                if idle and self._board.another_is_idle and not self._ahead_busy()
                else None
            )
        try:
            yield begun is not None
        finally:
            if begun is not None:
                self._end(begun, begun)

    def join(self, one: T, size: int) -> None:
        """Queue a request of `size` bytes, or reject it immediately."""
        with self._changed:
            why = self._objection(size)
            if why is None:
                self._waiting.append((time.monotonic_ns(), size, one))
                self._bytes += size
                self._publish()
        if why is not None:
            self._refuse(one, why)

    def wait_for_turn(self) -> None:
        """Return when this process should take another request."""
        with self._changed:
            while not self._board.mine:
                self._changed.wait(_LOOK_EVERY_S)

    def close(self) -> None:
        """Serve what is queued, and end the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _objection(self, size: int) -> Overload | None:
        if self._load < len(self._workers):
            return None
        before = len(self._waiting)
        if before >= self._limits.max_queue or (before and self._bytes + size > MAX_BYTES):
            return "queue"
        wait_s = (before + 1) * self._takes_s / len(self._workers)
        return "wait" if wait_s * 1e3 > self._limits.max_wait_ms else None

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                since, size, one = self._waiting.popleft()
                self._bytes -= size
                begun = self._begin()
                latest = since + 2 * self._limits.max_wait_ms * 1_000_000
                while self._ahead_busy() and time.monotonic_ns() <= latest and not self._closed:
                    self._changed.wait(_LOOK_AHEAD_EVERY_S)
                start = time.monotonic_ns()
                self.waited_s += (start - since) / 1e9
            late = start > latest
            try:
                self._refuse(one, "wait") if late else self._work(one)
            except Exception:  # noqa: BLE001 (this worker has more to serve)
                traceback.print_exc()
            self._end(begun, start, late=late)

    def _begin(self) -> int:
        self._begun.append(time.monotonic_ns())
        self._publish()
        return self._begun[-1]

    def _end(self, begun: int, start: int, *, late: bool = False) -> None:
        with self._changed:
            self._begun.remove(begun)
            now = time.monotonic_ns()
            self.worked_s += (now - start) / 1e9
            if not late:
                self._takes_s += _LATEST * ((now - begun) / 1e9 - self._takes_s)
            self._publish()

    @property
    def _load(self) -> int:
        return len(self._begun) + len(self._waiting)

    def _publish(self) -> None:
        """Notify the other threads, and publish the load to the other processes."""
        beyond = self._load - len(self._workers)
        since = self._begun[0] if self._begun else self._waiting[0][0] if self._waiting else 0
        self._board.publish(Load(since, beyond) if beyond >= 0 else Load())
        self._changed.notify_all()
