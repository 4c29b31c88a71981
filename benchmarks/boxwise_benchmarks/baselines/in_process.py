"""The upper bound on this machine: the same stages and graphs in a loop, without a server."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection

import numpy as np

from boxwise_benchmarks.baselines.base import Detections, Peer
from boxwise_benchmarks.baselines.recipe import Recipe
from boxwise_benchmarks.measure import Run

BARE = "in_process"  # name of its row


class InProcess(Peer):
    """Worker processes that each run the whole pipeline, image by image, on a share of the cores.

    Args:
        recipe: of the pipeline.
        workers: number of processes; None for the repository's number of instances.
        threads: of ONNX Runtime in each; None for the repository's.

    Attributes:
        workers: number of processes.
    """

    name = BARE

    def __init__(
        self, recipe: Recipe, workers: int | None = None, threads: int | None = None
    ) -> None:
        self._recipe = recipe
        self.workers = self.most_in_flight = workers or recipe.instances
        self._threads = threads or recipe.threads
        self._links: list[Connection] = []
        self._turn = threading.Lock()

    def start(self, stack: ExitStack) -> None:
        """Start the workers and wait until each has its graphs loaded."""
        context = multiprocessing.get_context("spawn")
        for _ in range(self.workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, self._recipe, self._threads), daemon=True
            )
            process.start()
            theirs.close()  # so that the link closes when the worker ends
            stack.callback(process.join)
            stack.callback(ours.close)
            self._links.append(ours)
        for link in self._links:
            link.recv()  # ready

    def call(self, image: bytes) -> Detections:
        """Predict an image in the first worker."""
        with self._turn:
            self._links[0].send(image)
            found: Detections = self._links[0].recv()
        return found

    def run(self, images: Sequence[bytes], concurrency: int, seconds: float) -> Run:
        """Run a loop in up to `concurrency` workers; they receive the images before it starts."""
        links = self._links[:concurrency]
        for number, link in enumerate(links):
            link.send(([*images[number:], *images[:number]], seconds))
        runs: list[Run] = [link.recv() for link in links]
        return Run(
            max(run.seconds for run in runs), [latency for run in runs for latency in run.latencies]
        )


def _work(link: Connection, recipe: Recipe, threads: int) -> None:
    runner = recipe.runner(threads)

    def predict(image: bytes) -> Detections:
        return Detections.from_tensors(
            runner({"image": np.frombuffer(image, np.uint8)}), recipe.classifier
        )

    link.send("ready")
    try:
        while True:
            task = link.recv()
            link.send(predict(task) if isinstance(task, bytes) else _loop(predict, *task))
    except (EOFError, ConnectionError, KeyboardInterrupt):  # the benchmark is over
        return


def _loop(predict: Callable[[bytes], object], images: Sequence[bytes], seconds: float) -> Run:
    latencies: list[float] = []
    start = now = time.perf_counter()
    while now - start < seconds:
        predict(images[len(latencies) % len(images)])
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    return Run(now - start, latencies)
