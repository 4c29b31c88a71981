"""A handle of a call in another thread, to wait for it or to cancel it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager

from boxwise._blocking import Connection
from boxwise._errors import BoxwiseError, Cancelled
from boxwise._result import Result
from boxwise._transport import cancelled


class Prediction:
    """A call in flight, from `Client.submit`."""

    def __init__(self, future: Future[Result], scope: Scope) -> None:
        self._future = future
        self._scope = scope

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the result.

        Args:
            timeout_s: seconds to wait here. The call has its own deadline and continues.

        Raises:
            TimeoutError: the result is not there yet.
            BoxwiseError: as for `predict`; `Cancelled` after `cancel`.
        """
        try:
            return self._future.result(timeout_s)
        except CancelledError:
            raise Cancelled("the call was cancelled before it was sent") from None

    def done(self) -> bool:
        """Return whether `result` would return or raise immediately."""
        return self._future.done()

    def cancel(self) -> bool:
        """Cancel the call, on the server too: stages that have not started do not run.

        Returns False if it had completed.
        """
        if self._future.done():
            return False
        self._future.cancel()
        self._scope.cancel()
        return True

    def add_done_callback(self, function: Callable[[Prediction], object]) -> None:
        """Call `function` with this prediction when it completes, or now if it has."""
        self._future.add_done_callback(lambda _: function(self))


def failed(error: BoxwiseError) -> Prediction:
    """Return a completed call that failed, for an image that could not be sent."""
    future: Future[Result] = Future()
    future.set_exception(error)
    return Prediction(future, Scope())


class Waiting(threading.Event):
    """An event that a call waits for, and that `Scope.cancel` ends like a connection."""

    abort = threading.Event.set


class Scope:
    """What a call currently waits on, so that another thread can cancel it."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._held: set[Connection | Waiting] = set()
        self._lock = threading.Lock()

    def cancel(self) -> None:
        with self._lock:
            self.cancelled.set()
            for connection in self._held:
                connection.abort()

    @contextmanager
    def holding(self, connection: Connection | Waiting) -> Iterator[None]:
        """Register the connection for the duration of the block."""
        self.add(connection)
        try:
            yield
        finally:
            self.remove(connection)

    def add(self, connection: Connection | Waiting) -> None:
        with self._lock:
            if self.cancelled.is_set():
                raise cancelled()
            self._held.add(connection)

    def remove(self, connection: Connection | Waiting) -> None:
        with self._lock:
            self._held.discard(connection)
