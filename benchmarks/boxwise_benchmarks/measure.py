"""A closed loop of load, and the machine it ran on."""

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
    """One run of load.

    Attributes:
        seconds: its duration.
        latencies: of the requests in seconds, in any order.
    """

    seconds: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Requests per second."""
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
    """Keep `concurrency` requests in flight: each thread sends the next after a response.

    Args:
        call: sends one image.
        images: sent in turn.
        concurrency: number of threads.
        seconds: after which no request starts.
        requests: their maximum number.

    Raises:
        Exception: of the first failed request, which ends the loop.
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
    """Return the machine and the versions as one line."""
    return str(Machine.here())
