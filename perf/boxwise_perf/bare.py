"""The limit on this machine: the same stages and graphs in a bare loop, without a server."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import numpy as np

from boxwise_export.chain import Chain
from boxwise_perf.measure import Run


class BareLoop(AbstractContextManager["BareLoop"]):
    """Worker processes that each run the whole pipeline, image by image, on their own share of the cores.

    Args:
        repository: exported, with one detector and any number of classifiers.
        pipeline: its name.
        pictures: encoded files.
        workers: processes.
        threads: of ONNX Runtime in each.
    """

    def __init__(
        self, repository: Path, pipeline: str, pictures: Sequence[bytes], *, workers: int, threads: int
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._links: list[Connection] = []
        self._processes = []
        for number in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, repository, pipeline, [*pictures[number:], *pictures[:number]], threads)
            )
            process.start()
            self._links.append(ours)
            self._processes.append(process)
        for link in self._links:
            link.recv()  # ready

    def run(self, seconds: float) -> Run:
        """Run all workers at once for so long."""
        for link in self._links:
            link.send(seconds)
        runs: list[Run] = [link.recv() for link in self._links]
        return Run(max(run.seconds for run in runs), [latency for run in runs for latency in run.latencies])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the workers."""
        for link in self._links:
            link.close()
        for process in self._processes:
            process.join()


def _work(link: Connection, repository: Path, pipeline: str, pictures: Sequence[bytes], threads: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    chain = Chain.load(repository, pipeline, threads)

    def predict(image: bytes) -> object:
        return chain({"image": np.frombuffer(image, np.uint8)})

    predict(pictures[0])
    link.send("ready")
    try:
        while True:
            link.send(_loop(predict, pictures, link.recv()))
    except (EOFError, BrokenPipeError):
        return


def _loop(predict: Callable[[bytes], object], pictures: Sequence[bytes], seconds: float) -> Run:
    latencies: list[float] = []
    start = now = time.perf_counter()
    while now - start < seconds:
        predict(pictures[len(latencies) % len(pictures)])
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    return Run(now - start, latencies)
