"""When a request is sent again: after a failure, or because it is slow. No I/O, no waiting."""

from __future__ import annotations

import random
import threading
from collections import deque
from dataclasses import dataclass

_RESERVE = 10.0  # retries of a client that has not sent anything yet
# Limit of saved retries: without it, a burst of failures after a quiet hour would double the load.
_LARGEST_RESERVE = 100.0
_SAMPLES = 256  # recent latencies of which a percentile is computed
_ENOUGH = 32  # latencies before the first percentile
_EVERY = 16  # requests between two updates of the percentile


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a request is sent again after its connection failed, within its deadline.

    Detection has no side effects, so sending a request twice is safe. Only failed connections are
    retried. A response is never retried, least of all an overload.

    Attributes:
        attempts: maximum number of attempts, the first included; 1 for no retries.
        backoff_s: the first pause is a random part of it, each later one of twice as much ("full
            jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
            Another server is tried without a pause.
        max_backoff_s: longest pause.
        budget: maximum share of requests that are sent again; beyond it, errors are raised
            immediately. Another server is free if the first could not be reached.
    """

    attempts: int = 4
    backoff_s: float = 0.05
    max_backoff_s: float = 1.0
    budget: float = 0.1

    def pause(self, tried: int, random_part: float | None = None) -> float:
        """Return the seconds to wait after this many attempts."""
        part = random.random() if random_part is None else random_part  # noqa: S311 - no secret
        return part * min(self.max_backoff_s, self.backoff_s * 2.0 ** (tried - 1))


@dataclass(frozen=True, slots=True)
class Hedge:
    """Call a second server when the first is slow; the first response counts.

    It needs several servers and spends the budget of `Retry`.

    Attributes:
        percentile: of recent latencies, after which the second server is called.
        min_s: minimum of that time in seconds.
    """

    percentile: float = 95.0
    min_s: float = 0.01


class Budget:
    """A token bucket: each request earns a part of a retry, and a retry costs a whole one."""

    def __init__(self, part: float) -> None:
        self._part = part
        self._tokens = _RESERVE
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Record a request that is sent for the first time."""
        with self._lock:
            self._tokens = min(_LARGEST_RESERVE, self._tokens + self._part)

    def spend(self) -> bool:
        """Return whether a request may be sent again, and count it."""
        with self._lock:
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True


class Latencies:
    """Recent latencies and a percentile of them."""

    def __init__(self, percentile: float) -> None:
        self._percentile = percentile
        self._seconds: deque[float] = deque(maxlen=_SAMPLES)
        self._since = 0
        self._high: float | None = None

    def add(self, seconds: float) -> None:
        """Record a latency in seconds."""
        self._seconds.append(seconds)
        self._since += 1
        if len(self._seconds) >= _ENOUGH and (self._since >= _EVERY or self._high is None):
            self._since = 0
            ranked = sorted(self._seconds)
            self._high = ranked[min(len(ranked) - 1, int(len(ranked) * self._percentile / 100))]

    @property
    def high(self) -> float | None:
        """The percentile in seconds; None before there are enough latencies."""
        return self._high
