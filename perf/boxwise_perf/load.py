"""Load on a server: which requests are sent when, and what became of each. Threads and arrays, no
server in here.
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

SENDERS = 128  # threads of an open loop, so the most requests in flight
GRACE_S = 1.0  # after its end, for arrivals that waited for a sender; later ones are never sent
GIVE_UP_AFTER = 20  # requests, where every single one failed
# A lag of the generator's own that is larger than both spoils a percentile.
LAG_SHARE, LAG_S = (
    0.2,
    0.001,
)
CPU_SHARE = 0.9  # of a core: Python runs on one at a time


@dataclass(frozen=True)
class Closed:
    """So many requests in flight at all times: each sender sends its next when its last is
    answered.
    """

    concurrency: int

    def __str__(self) -> str:
        return f"concurrency {self.concurrency}"


@dataclass(frozen=True)
class Open:
    """Requests arrive at a rate (a second), whether or not earlier ones are answered, as those of
    strangers do.
    """

    rate: float
    arrivals: Arrivals = "poisson"

    def __str__(self) -> str:
        return f"{self.rate:.4g}/s {self.arrivals}"


Load = Closed | Open


class LoadError(RuntimeError):
    """There is nothing to measure: no request was answered, or the server is not there. A sentence
    for people.
    """


@dataclass(frozen=True)
class Samples:
    """Every request of a run, one row each, by its scheduled time.

    Attributes:
        scheduled: float64 [n], seconds from the start; in a closed loop that is when it was sent.
        sent: float64 [n], seconds.
        done: float64 [n], seconds, answered or failed.
        boxes: int64 [n], of the answer; 0 where it failed.
        errors: the error's class name, "" where it was answered.
        messages: of each error class, its first message.
        unsent: requests whose time came and for which no sender was free, even a second after the
            end.
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
        """Of each request, whether it was."""
        return np.array([not error for error in self.errors], np.bool_)

    @property
    def latencies(self) -> NDArray[np.float64]:
        """Seconds from the *scheduled* send to the answer, so that a server that stalls is charged
        for all who wait.
        """
        return self.done - self.scheduled

    @property
    def p99_ms(self) -> float:
        """Of the latencies of all requests, of those that failed too."""
        return float(np.percentile(self.latencies, 99)) * 1e3

    @property
    def lag(self) -> NDArray[np.float64]:
        """Seconds that each was sent late: the generator's own fault, or that of a machine without
        a free core.
        """
        return self.sent - self.scheduled

    @property
    def most_in_flight(self) -> int:
        """The most requests under way at once."""
        moments = np.concatenate((self.sent, self.done))
        steps = np.concatenate(
            (np.ones(len(self.sent), np.int64), -np.ones(len(self.done), np.int64))
        )
        # Of a reply and a request at one moment the reply comes first: a closed loop sends its next
        # at that time.
        return int(np.cumsum(steps[np.lexsort((steps, moments))]).max(initial=0))

    def since(self, start: float) -> Samples:
        """Those scheduled from `start` on: what is left once the warm-up is discarded."""
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
    """The scheduled times of an open loop, seconds from its start, ascending.

    A Poisson process has exponential gaps; a fixed rate has equal ones.
    """
    if load.arrivals == "fixed":
        return np.arange(round(seconds * load.rate)) / load.rate
    likely = load.rate * seconds
    gaps = np.random.default_rng(seed).exponential(
        1 / load.rate, int(likely + 10 * likely**0.5 + 20)
    )
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
    """Send requests in turn for so long, and wait for the last answer.

    Args:
        call: sends one and returns the number of boxes; what it raises is counted as a failed
            request.
        requests: what to send, over and over.
        load: closed or open loop.
        seconds: in which requests are begun.
        seed: of Poisson arrivals.
        first: the one to begin with.
        on_start: called with the `time.perf_counter()` of second 0.
        stop: once set, no more requests are begun.

    Raises:
        LoadError: every request failed; it says with what.
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
    """What the senders of one run share. Appending to a list and counting on are atomic: the
    interpreter's lock.
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
        self.call, self.requests, self.seconds, self.first, self.stop = (
            call,
            requests,
            seconds,
            first,
            stop,
        )
        self.sleep = stop.wait if stop else time.sleep  # the latter is the cheaper one
        self.times = None if times is None else times.tolist()
        self.turn = count()
        self.start = 0.0
        self.started = threading.Event()
        self.rows: list[tuple[float, float, float, int, str]] = []
        self.messages: dict[str, str] = {}
        self.answered = False

    def send(self) -> None:
        """One sender: take the next request, wait for its time, send it."""
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
            boxes, error = self._ask(self.requests[(self.first + number) % len(self.requests)])
            self.rows.append((scheduled, sent, self._now(), boxes, error))

    def samples(self) -> Samples:
        """What became of all."""
        if not self.answered:
            said = next(
                iter(self.messages.values()),
                "the time was too short for one request: make --duration longer",
            )
            raise LoadError(f"no request was answered: {said}")
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

    def _ask(self, request: T) -> tuple[int, str]:
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
    """Why a run says more about the load generator than about the server, and the fix; None where
    it does not.

    Args:
        samples: without the warm-up.
        load: what was asked for.
        cpu_share: of one core, what the generator's process used.
    """
    if cpu_share > CPU_SHARE:
        return (
            f"the load generator used {cpu_share:.0%} of the one core that Python runs on, "
            "so its own limit was "
            "measured: lower the load, or send it from several machines"
        )
    if isinstance(load, Closed):
        return None
    if samples.unsent or samples.most_in_flight >= SENDERS:
        unsent = f" and {samples.unsent} requests were never sent" if samples.unsent else ""
        return (
            f"all {SENDERS} senders were busy{unsent}: the server does not keep "
            f"up with {load.rate:g} requests/s, so ask for a lower --rate"
        )
    for percent in (50, 99):
        lag, latency = (
            float(np.percentile(each, percent)) for each in (samples.lag, samples.latencies)
        )
        if lag > LAG_S and lag > LAG_SHARE * latency:
            return (
                f"the load generator itself was late, by {lag * 1e3:.1f} ms at p{percent} "
                "where the latency is "
                f"{latency * 1e3:.1f} ms, while senders were free: this machine has no core "
                "left for it, so stop what "
                "else runs here, lower the rate, or send it from another machine"
            )
    return None
