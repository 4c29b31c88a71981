"""The limit on this machine: the same stages and graphs in a bare loop, without a server."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from boxwise_perf.measure import Run

Tensors = dict[str, NDArray[Any]]
NO_LABELS: Tensors = {"label_ids": np.zeros((0, 1)), "label_scores": np.zeros((0, 1))}


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


def load_chain(repository: Path, pipeline: str, threads: int) -> Callable[[bytes], Tensors]:
    """The pipeline as one function, made of the stages and graphs that the server would load."""
    from boxwise_runtime.parameters import build_stage
    from boxwise_runtime.session import OnnxGraph
    from boxwise_runtime.stages import Assemble, Preprocess, Suppress

    def stage(stage_type: type[Any], model: str) -> Any:
        text = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
        config: Any = text_format.Parse(text, model_config_pb2.ModelConfig())
        parameters: Mapping[str, str] = {key: value.string_value for key, value in config.parameters.items()}
        return build_stage(stage_type, parameters, repository / model / "1")

    def graph(model: str) -> OnnxGraph:
        return OnnxGraph(repository / model / "1" / "model.onnx", threads=threads, chunk=16)

    preprocess, suppress = stage(Preprocess, f"{pipeline}_preprocess"), stage(Suppress, f"{pipeline}_nms")
    detector = graph(f"{pipeline}_detector")
    classifiers = {name: graph(f"{pipeline}_classifier_{name}") for name in suppress.crops}
    assemble = Assemble(tuple(classifiers))

    def predict(image: bytes) -> Tensors:
        request = preprocess({"image": np.frombuffer(image, np.uint8)})
        objects = suppress(request | detector({"canvas": request["canvas"]}))
        answers: Tensors = dict(objects)
        for name, classifier in classifiers.items():
            # Unlike the server, a loop need not ask about nothing.
            asked = len(objects[f"{name}_rows"])
            labels = classifier({"crops": objects[f"{name}_crops"]}) if asked else NO_LABELS
            answers |= {f"{name}_{part}": values for part, values in labels.items()}
        outputs: Tensors = objects | assemble(answers)
        return outputs

    return predict


def _work(link: Connection, repository: Path, pipeline: str, pictures: Sequence[bytes], threads: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    predict = load_chain(repository, pipeline, threads)
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
