"""The load generator, a process of its own: the measuring process takes none of its CPU time.

Generator.begin(Job) ─▶ pipe ─▶ process: Client, load.drive() ─▶ Outcome ─▶ Generator.end()
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

TIMEOUT_S = 60  # deadline of a request
# Where permitted: due sends run before the server's work, as if they came from another machine.
_NICE = -10
# How long a due send waits for a thread that computes. Python's default of 5 ms would delay it.
_SWITCH_S = 0.0005


@dataclass(frozen=True)
class Job:
    """One run: `seconds` of `load` on `pipeline` at `url`, starting with request `first`."""

    url: str
    pipeline: str
    load: Load
    seconds: float
    seed: int = 0
    first: int = 0


@dataclass(frozen=True)
class Outcome:
    """The requests of a run, and the share of one core that the generator used."""

    samples: Samples
    cpu_share: float


class Generator(AbstractContextManager["Generator"]):
    """A process that sends requests. Its clients, one per server, keep their connections.

    Args:
        requests: sent in turn, over and over.
        timeout_s: deadline of a request.
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
        """Start a run, and return the `time.perf_counter()` of its start.

        That clock is the same in all processes.

        Raises:
            LoadError: the server does not respond, or does not have the pipeline.
        """
        self._link.send(job)
        start = self._receive()
        assert isinstance(start, float)  # noqa: S101 - `_work` sends it first
        return start

    def end(self) -> Outcome:
        """Wait for the end of the run. Raises LoadError if no request succeeded."""
        outcome = self._receive()
        assert isinstance(outcome, Outcome)  # noqa: S101 - `_work` sends it second
        return outcome

    def run(self, job: Job) -> Outcome:
        """Start a run and wait for its end."""
        self.begin(job)
        return self.end()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill the process, even during a run."""
        self._link.close()
        self._process.kill()
        self._process.join()

    def _receive(self) -> float | Outcome:
        try:
            message: float | Outcome | LoadError = self._link.recv()
        except EOFError:
            raise LoadError(
                "the load generator's process died; was it killed, or out of memory?"
            ) from None
        if isinstance(message, LoadError):
            raise message
        return message


def _work(link: Connection, requests: Sequence[Request], timeout_s: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and kills this process
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
                client.info()  # fails now if the server is down or has another contract
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
