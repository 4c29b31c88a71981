"""What every peer is: started for a repository, asked about an image, measured, stopped.

This page imports nothing heavy: the frameworks' servers, in an environment of their own, answer
with its `Detections`.
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
    """Every object in one image, best score first, and what the one classifier says of it.

    Attributes:
        boxes: float32 [n, 4], xyxy, pixels of the image as shown.
        scores: float32 [n], 0 to 1.
        class_ids: int32 [n].
        label_ids: int32 [n, k], best first; -1 where the classifier is not asked about that class.
        label_scores: float32 [n, k], 0 to 1; 0 where it is not asked.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    label_ids: NDArray[np.int32]
    label_scores: NDArray[np.float32]

    @classmethod
    def from_tensors(cls, reply: Mapping[str, NDArray[Any]], classifier: str) -> Detections:
        """The outputs of the contract, `<classifier>_ids` and `<classifier>_scores` among them."""
        labels = (reply[f"{classifier}_{part}"] for part in ("ids", "scores"))
        return cls(reply["boxes"], reply["scores"], reply["class_ids"], *labels)

    def to_json(self) -> bytes:
        """One JSON object of lists; a float32 survives it exactly."""
        return json.dumps({name: column.tolist() for name, column in vars(self).items()}).encode()

    @classmethod
    def from_json(cls, document: bytes, top_k: int) -> Detections:
        """What `to_json` wrote; `top_k` gives an empty list its shape."""
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
    """One way to answer; a context manager, outside of which nothing of it runs.

    Attributes:
        name: of its row in the table.
        most_in_flight: more requests at once than this it does not take.
    """

    name: str
    most_in_flight: int = sys.maxsize

    def __enter__(self) -> Self:
        """Start what it needs; return when it is ready to answer.

        Its processes have the settings of the allocator that our launcher gives Triton, which save
        each of them page faults.
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
        """Stop all of it."""
        self._running.close()

    @abstractmethod
    def start(self, stack: ExitStack) -> None:
        """Start servers and clients, each put on the stack that ends it."""

    @abstractmethod
    def call(self, image: bytes) -> Detections:
        """Ask about one encoded image; any number of threads at once."""

    def run(self, images: Sequence[bytes], concurrency: int, seconds: float) -> Run:
        """Keep so many requests in flight for so long."""
        return closed_loop(self.call, images, concurrency, seconds=seconds)
