"""Count what the outputs of a stage show; `python_backend.py` hands the counts to Triton."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args

from numpy.typing import NDArray

from boxwise_contract.refusals import REASONS
from boxwise_runtime.request_queue import Overload, RequestQueue

_WAITING = "boxwise_waiting_requests"
_QUEUE_SECONDS, _WORK_SECONDS = "boxwise_queue_seconds_total", "boxwise_work_seconds_total"
_REFUSALS = "boxwise_refusals_total"
_OVERLOADS = "boxwise_overload_refusals_total"
FAMILIES = {
    "boxwise_images_total": "Images whose boxes were computed.",
    "boxwise_boxes_total": "Boxes in responses.",
    "boxwise_boxes_dropped_total": "Boxes beyond the max_detections of their request.",
    "boxwise_crops_total": "Boxes that a classifier ran on.",
    "boxwise_decode_seconds_total": "Seconds of decoding.",
    "boxwise_stage_seconds_total": "Seconds of each stage, in the layouts bls and fused.",
    _WAITING: "Requests that are queued now.",
    _QUEUE_SECONDS: "Seconds that requests were queued.",
    _WORK_SECONDS: "Seconds that requests were in flight after they were queued.",
    _REFUSALS: "Requests rejected with INVALID_ARGUMENT, by reason.",
    _OVERLOADS: "Requests rejected with UNAVAILABLE because of the queue, by reason.",
}
GAUGES = (_WAITING,)  # the rest are counters
SECONDS_OF = "seconds."  # prefix of a stage's time among the outputs of a runner


class Series(NamedTuple):
    """One counter: its family, and its label and value if the family has one."""

    family: str
    label: str = ""
    value: str = ""


def counts(outputs: Mapping[str, NDArray[Any]]) -> Iterator[tuple[Series, float]]:
    """Yield what one request adds, given the outputs of a stage or of a runner."""
    if "decode_seconds" in outputs:
        yield Series("boxwise_decode_seconds_total"), float(outputs["decode_seconds"])
    if "boxes" in outputs:
        yield Series("boxwise_images_total"), 1
        yield Series("boxwise_boxes_total"), len(outputs["boxes"])
    if "dropped" in outputs:
        yield Series("boxwise_boxes_dropped_total"), float(outputs["dropped"])
    for name, tensor in outputs.items():
        if name.endswith("_rows"):
            yield (
                Series("boxwise_crops_total", "classifier", name.removesuffix("_rows")),
                len(tensor),
            )
        elif name.startswith(SECONDS_OF):
            yield (
                Series("boxwise_stage_seconds_total", "stage", name.removeprefix(SECONDS_OF)),
                float(tensor),
            )


class Tally:
    """Counts of many threads until they are taken; adding to Triton's counters takes 16
    microseconds each.

    Args:
        refuses: whether this stage can reject requests.
        queue: of this stage, if it has one.
    """

    def __init__(self, *, refuses: bool = False, queue: RequestQueue[Any] | None = None) -> None:
        # Zeros are reported too: a counter that first appears at 10 has no rate.
        refusals = [Series(_REFUSALS, "reason", reason) for reason in REASONS if refuses]
        overloads = [Series(_OVERLOADS, "reason", reason) for reason in get_args(Overload) if queue]
        self._counts = defaultdict(float, dict.fromkeys([*refusals, *overloads], 0.0))
        self._queue = queue
        self._queue_taken = dict.fromkeys((_WAITING, _QUEUE_SECONDS, _WORK_SECONDS), 0.0)
        self._lock = threading.Lock()

    def add(self, outputs: Mapping[str, NDArray[Any]]) -> None:
        """Count a served request."""
        with self._lock:
            for series, amount in counts(outputs):
                self._counts[series] += amount

    def add_refusal(self, reason: str) -> None:
        """Count an invalid request."""
        with self._lock:
            self._counts[Series(_REFUSALS, "reason", reason)] += 1

    def add_overload(self, reason: Overload) -> None:
        """Count a request rejected because of the queue."""
        with self._lock:
            self._counts[Series(_OVERLOADS, "reason", reason)] += 1

    def take(self) -> Mapping[Series, float]:
        """Return the counts since the last call; of a gauge, its change."""
        with self._lock:
            taken, self._counts = self._counts, defaultdict(float)
        if self._queue:
            queue = self._queue
            now = {
                _WAITING: float(queue.waiting),
                _QUEUE_SECONDS: queue.waited_s,
                _WORK_SECONDS: queue.worked_s,
            }
            taken |= {Series(name): value - self._queue_taken[name] for name, value in now.items()}
            self._queue_taken = now
        return taken
