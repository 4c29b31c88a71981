"""Load: the schedule of requests, the threads that send them, and a record of each.

    Closed | Open ─▶ arrivals() ─▶ drive(): threads ─▶ Samples ─▶ void_reason()

Nothing here knows a server: `drive` calls a function.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Arrivals = Literal["poisson", "fixed"]

SENDERS = 128  # threads of an open loop, and so its limit of requests in flight
GRACE_S = 1.0  # after the end, for arrivals that had no free sender; later ones are never sent
GIVE_UP_AFTER = 20  # requests, if all of them failed
# The generator's lag spoils a percentile if it exceeds both: a share of the latency, and seconds.
LAG_SHARE, LAG_S = 0.2, 0.001
CPU_SHARE = 0.9  # of one core, which is all that Python uses


@dataclass(frozen=True)
class Closed:
    """A fixed number of requests in flight: a response is followed by the next request."""

    concurrency: int

    def __str__(self) -> str:
        return f"concurrency {self.concurrency}"


@dataclass(frozen=True)
class Open:
    """Requests arrive at a rate per second, independent of responses."""

    rate: float
    arrivals: Arrivals = "poisson"

    def __str__(self) -> str:
        return f"{self.rate:.4g}/s {self.arrivals}"


Load = Closed | Open


class LoadError(RuntimeError):
    """No request succeeded, so nothing was measured. Its message is for users."""


@dataclass(frozen=True)
class Samples:
    """The requests of a run, one row each, sorted by scheduled time.

    Attributes:
        scheduled: float64 [n], seconds from the start; in a closed loop equal to `sent`.
        sent: float64 [n], seconds from the start.
        done: float64 [n], seconds from the start, of the response or the error.
        boxes: int64 [n], number of boxes in the response; 0 for a failed request.
        errors: class name of the error; "" for a successful request.
        messages: error class -> its first message.
        unsent: requests for which no sender was free until `GRACE_S` after the end.
    """

    scheduled: NDArray[np.float64]
    sent: NDArray[np.float64]
    done: NDArray[np.float64]
    boxes: NDArray[np.int64]
    errors: tuple[str, ...]
    messages: dict[str, str]
    unsent: int = 0

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether each request succeeded, bool [n]."""
        return np.array([not error for error in self.errors], np.bool_)

    @property
    def latencies(self) -> NDArray[np.float64]:
        """Seconds from the *scheduled* send to the response.

        So a stall of the server counts for every request that was due meanwhile.
        """
        return self.done - self.scheduled

    @property
    def p99_ms(self) -> float:
        """The p99 latency in milliseconds, failed requests included."""
        return float(np.percentile(self.latencies, 99)) * 1e3

    @property
    def lag(self) -> NDArray[np.float64]:
        """Seconds by which each send was late: the generator or its machine was too slow."""
        return self.sent - self.scheduled

    @property
    def most_in_flight(self) -> int:
        """The maximum number of requests in flight."""
        moments = np.concatenate((self.sent, self.done))
        steps = np.concatenate(
            (np.ones(len(self.sent), np.int64), -np.ones(len(self.done), np.int64))
        )
        # At equal times the response sorts first: a closed loop sends its next request then.
        return int(np.cumsum(steps[np.lexsort((steps, moments))]).max(initial=0))

    def since(self, start: float) -> Samples:
        """Return the requests scheduled from `start` on, without the warm-up before it."""
        first = int(np.searchsorted(self.scheduled, start))
        return replace(
            self,
            scheduled=self.scheduled[first:],
            sent=self.sent[first:],
            done=self.done[first:],
            boxes=self.boxes[first:],
            errors=self.errors[first:],
        )


def arrivals(load: Open, seconds: float, seed: int) -> NDArray[np.float64]:
    """Return the scheduled times of an open loop: ascending seconds from its start.

    The gaps are exponential for Poisson arrivals, and equal for fixed ones.
    """
    if load.arrivals == "fixed":
        return np.arange(round(seconds * load.rate)) / load.rate
    expected = load.rate * seconds
    enough = int(expected + 10 * expected**0.5 + 20)  # ten standard deviations more
    gaps = np.random.default_rng(seed).exponential(1 / load.rate, enough)
    times: NDArray[np.float64] = np.cumsum(gaps)
    return times[times < seconds]


def drive(
    call: Callable[[T], int],
    requests: Sequence[T],
    load: Load,
    seconds: float,
    *,
    seed: int = 0,
    first: int = 0,
    on_start: Callable[[float], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Samples:
    """Send requests in turn, and wait for the last response.

    Args:
        call: sends one request and returns the number of boxes; an exception counts as a failure.
        requests: sent in turn, over and over.
        load: closed or open loop.
        seconds: how long to send.
        seed: of Poisson arrivals.
        first: index of the first request.
        on_start: called with the `time.perf_counter()` of the start.
        stop: once set, no further request is sent.

    Raises:
        LoadError: every request failed; the message has the first error.
    """
    times = arrivals(load, seconds, seed) if isinstance(load, Open) else None
    run = _Run(call, requests, times, seconds, first, stop)
    senders = (
        load.concurrency if isinstance(load, Closed) else min(SENDERS, len(run.times or ()) or 1)
    )
    threads = [threading.Thread(target=run.send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    run.start = time.perf_counter()
    run.started.set()
    on_start(run.start)
    for thread in threads:
        thread.join()
    return run.samples()


class _Run(Generic[T]):
    """The state that the senders of a run share. They only append to a list and advance a counter,
    which are atomic under the interpreter's lock.
    """

    def __init__(
        self,
        call: Callable[[T], int],
        requests: Sequence[T],
        times: NDArray[np.float64] | None,
        seconds: float,
        first: int,
        stop: threading.Event | None,
    ) -> None:
        self.call, self.requests = call, requests
        self.seconds, self.first, self.stop = seconds, first, stop
        self.sleep = stop.wait if stop else time.sleep  # the latter costs less
        self.times = None if times is None else times.tolist()
        self.turn = count()
        self.start = 0.0
        self.started = threading.Event()
        self.rows: list[tuple[float, float, float, int, str]] = []
        self.messages: dict[str, str] = {}
        self.answered = False

    def send(self) -> None:
        """Run one sender: take the next request, wait until it is due, send it."""
        self.started.wait()
        while not self._hopeless():
            number = next(self.turn)
            if self.times is None:
                scheduled = self._now()
            elif number < len(self.times):
                scheduled = self.times[number]
                if (early := scheduled - self._now()) > 0:
                    self.sleep(early)
            else:
                return
            if self.stop and self.stop.is_set():
                return
            sent = scheduled if self.times is None else self._now()
            if sent >= self.seconds + (0 if self.times is None else GRACE_S):
                return
            boxes, error = self._call(self.requests[(self.first + number) % len(self.requests)])
            self.rows.append((scheduled, sent, self._now(), boxes, error))

    def samples(self) -> Samples:
        """Return every request, sorted. Raises LoadError if none succeeded."""
        if not self.answered:
            reason = next(
                iter(self.messages.values()),
                "the time was too short for one request: make --duration longer",
            )
            raise LoadError(f"no request succeeded: {reason}")
        rows = sorted(self.rows)
        scheduled, sent, done, boxes, errors = zip(*rows, strict=True)
        return Samples(
            np.array(scheduled),
            np.array(sent),
            np.array(done),
            np.array(boxes, np.int64),
            errors,
            self.messages,
            0 if self.times is None else len(self.times) - len(rows),
        )

    def _call(self, request: T) -> tuple[int, str]:
        try:
            boxes = self.call(request)
        except Exception as error:  # noqa: BLE001 - counted by its class
            name = type(error).__name__
            self.messages.setdefault(name, str(error))
            return 0, name
        self.answered = True
        return boxes, ""

    def _hopeless(self) -> bool:
        return not self.answered and len(self.rows) >= GIVE_UP_AFTER

    def _now(self) -> float:
        return time.perf_counter() - self.start


def void_reason(samples: Samples, load: Load, cpu_share: float) -> str | None:
    """Return why a run measured the load generator, not the server, and the fix; None if not.

    Args:
        samples: without the warm-up.
        load: closed or open loop.
        cpu_share: the generator's use of one core, 0 to 1.
    """
    if cpu_share > CPU_SHARE:
        return (
            f"the load generator used {cpu_share:.0%} of the one core that Python runs on, "
            "so its own limit was measured: lower the load, or send it from several machines"
        )
    if isinstance(load, Closed):
        return None
    if samples.unsent or samples.most_in_flight >= SENDERS:
        unsent = f" and {samples.unsent} requests were never sent" if samples.unsent else ""
        return (
            f"all {SENDERS} senders were busy{unsent}: the server does not keep "
            f"up with {load.rate:g} requests/s; choose a lower --rate"
        )
    for percent in (50, 99):
        lag, latency = (
            float(np.percentile(each, percent)) for each in (samples.lag, samples.latencies)
        )
        if lag > LAG_S and lag > LAG_SHARE * latency:
            return (
                f"the load generator itself was late, by {lag * 1e3:.1f} ms at p{percent} "
                f"with a latency of {latency * 1e3:.1f} ms, while senders were free: this machine "
                "has no core left for it; stop other programs, lower the rate, or send the load "
                "from another machine"
            )
    return None
