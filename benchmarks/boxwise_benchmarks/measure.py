"""Measured runs, and what they were measured on."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from boxwise_perf.machine import Machine


@dataclass(frozen=True)
class Run:
    """One stretch of load.

    Attributes:
        seconds: how long it took.
        latencies: seconds of each request, in no order.
    """

    seconds: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    @property
    def median_ms(self) -> float:
        """p50 of the latency, in milliseconds."""
        return statistics.median(self.latencies) * 1e3


def closed_loop(
    call: Callable[[bytes], object],
    images: Sequence[bytes],
    concurrency: int,
    *,
    seconds: float = math.inf,
    requests: float = math.inf,
) -> Run:
    """Keep `concurrency` requests in flight; each thread sends its next when its last is answered.

    It ends after so many seconds or requests, whichever comes first. A failed request ends it with
    its error.
    """
    latencies: list[float] = []
    errors: list[BaseException] = []
    turn = count()
    start = time.perf_counter()

    def send() -> None:
        now = time.perf_counter()
        try:
            while now - start < seconds and (number := next(turn)) < requests and not errors:
                call(images[number % len(images)])
                before, now = now, time.perf_counter()
                latencies.append(now - before)
        except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=send) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Run(time.perf_counter() - start, latencies)


def machine() -> str:
    """The machine and the versions, in one paragraph."""
    return str(Machine.here())
