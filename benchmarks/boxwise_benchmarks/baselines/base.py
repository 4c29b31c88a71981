"""The base class of peers, and their common result.

This module imports nothing heavy, because the frameworks' servers import it in an environment of
their own.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from boxwise_benchmarks.measure import Run, closed_loop
from boxwise_runtime.launcher.command import ALLOCATOR


@dataclass(frozen=True)
class Detections:
    """Every object in one image, best score first, with the labels of one classifier.

    Attributes:
        boxes: float32 [n, 4], xyxy, pixels of the image as shown.
        scores: float32 [n], 0 to 1.
        class_ids: int32 [n].
        label_ids: int32 [n, k], best first; -1 where the classifier did not run.
        label_scores: float32 [n, k], 0 to 1; 0 where it did not run.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    label_ids: NDArray[np.int32]
    label_scores: NDArray[np.float32]

    @classmethod
    def from_tensors(cls, reply: Mapping[str, NDArray[Any]], classifier: str) -> Detections:
        """Return the detections in the outputs of the contract."""
        labels = (reply[f"{classifier}_{part}"] for part in ("ids", "scores"))
        return cls(reply["boxes"], reply["scores"], reply["class_ids"], *labels)

    def to_json(self) -> bytes:
        """Return a JSON object of lists; float32 values stay exact."""
        return json.dumps({name: column.tolist() for name, column in vars(self).items()}).encode()

    @classmethod
    def from_json(cls, document: bytes, top_k: int) -> Detections:
        """Return what `to_json` wrote; `top_k` gives empty lists their shape."""
        lists = json.loads(document)
        count = len(lists["scores"])
        return cls(
            np.array(lists["boxes"], np.float32).reshape(count, 4),
            np.array(lists["scores"], np.float32),
            np.array(lists["class_ids"], np.int32),
            np.array(lists["label_ids"], np.int32).reshape(count, top_k),
            np.array(lists["label_scores"], np.float32).reshape(count, top_k),
        )


class Peer(ABC):
    """One way to serve the pipeline; a context manager, outside of which nothing of it runs.

    Attributes:
        name: of its row in the table.
        most_in_flight: its limit of requests in flight.
    """

    name: str
    most_in_flight: int = sys.maxsize

    def __enter__(self) -> Self:
        """Start its processes, and return when it is ready.

        They get the allocator settings that our launcher gives Triton, which save page faults.
        """
        os.environ |= ALLOCATOR
        with ExitStack() as stack:
            self.start(stack)
            self._running = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop its processes."""
        self._running.close()

    @abstractmethod
    def start(self, stack: ExitStack) -> None:
        """Start servers and clients, and put each on the stack that stops it."""

    @abstractmethod
    def call(self, image: bytes) -> Detections:
        """Predict one encoded image; called from several threads concurrently."""

    def run(self, images: Sequence[bytes], concurrency: int, seconds: float) -> Run:
        """Keep `concurrency` requests in flight for this time."""
        return closed_loop(self.call, images, concurrency, seconds=seconds)
