"""The load generator's process: what drives and watches a run costs the senders nothing of their
interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

from boxwise import BoxwiseError, Client
from boxwise_perf.images import Request
from boxwise_perf.load import SENDERS, Load, LoadError, Samples, drive

TIMEOUT_S = 60  # of a request; one that takes longer is a failed one
# where we may: a sender whose time has come goes before the server's work, as from another machine
_NICE = -10
# a sender whose time has come waits this long for one that computes; Python's own 5 ms is a lag
_SWITCH_S = 0.0005


@dataclass(frozen=True)
class Job:
    """One run: `seconds` of `load` on `pipeline` at `url`, beginning with request `first`."""

    url: str
    pipeline: str
    load: Load
    seconds: float
    seed: int = 0
    first: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it: the requests, and the share of one core that the generator used for them."""

    samples: Samples
    cpu_share: float


class Generator(AbstractContextManager["Generator"]):
    """A process that sends requests. It has one client for each server, which keeps its connections
    between runs.

    Args:
        requests: sent in turn, over and over.
        timeout_s: of each; one that takes longer is a failed one.
    """

    def __init__(self, requests: Sequence[Request], timeout_s: float = TIMEOUT_S) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, list(requests), timeout_s), daemon=True
        )
        self._process.start()
        theirs.close()

    def begin(self, job: Job) -> float:
        """Start a run; the `time.perf_counter()` of its second 0, which is the same clock in all
        processes.

        Raises:
            LoadError: the server or the pipeline is not there.
        """
        self._link.send(job)
        start = self._receive()
        assert isinstance(start, float)  # noqa: S101 - what `_work` sends first
        return start

    def end(self) -> Outcome:
        """Wait for the run that has begun. Raises LoadError where no request was answered."""
        outcome = self._receive()
        assert isinstance(outcome, Outcome)  # noqa: S101 - what `_work` sends second
        return outcome

    def run(self, job: Job) -> Outcome:
        """Both, for whom nothing is to be looked at meanwhile."""
        self.begin(job)
        return self.end()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process, in the middle of a run too."""
        self._link.close()
        self._process.kill()
        self._process.join()

    def _receive(self) -> float | Outcome:
        try:
            answer: float | Outcome | LoadError = self._link.recv()
        except EOFError:
            raise LoadError(
                "the load generator's process died; was it killed, or out of memory?"
            ) from None
        if isinstance(answer, LoadError):
            raise answer
        return answer


def _work(link: Connection, requests: Sequence[Request], timeout_s: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.setswitchinterval(_SWITCH_S)
    with suppress(PermissionError):
        os.nice(_NICE)
    clients: dict[tuple[str, str], Client] = {}
    while True:
        try:
            job: Job = link.recv()
        except EOFError:
            return
        try:
            key = job.url, job.pipeline
            if key not in clients:
                client = Client(
                    job.url,
                    pipeline=job.pipeline,
                    retry=None,
                    timeout_s=timeout_s,
                    connections=SENDERS + 1,
                )
                # a server that is not there, or speaks another contract, is told from a slow one
                client.info()
                clients[key] = client
            link.send(_run(clients[key], job, requests, link))
        except (BoxwiseError, LoadError) as error:
            link.send(LoadError(str(error)))


def _run(client: Client, job: Job, requests: Sequence[Request], link: Connection) -> Outcome:
    cpu, start = time.process_time(), time.perf_counter()
    samples = drive(
        lambda request: len(client.predict(request.image, **request.options)),
        requests,
        job.load,
        job.seconds,
        seed=job.seed,
        first=job.first,
        on_start=link.send,
    )
    return Outcome(samples, (time.process_time() - cpu) / (time.perf_counter() - start))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
