"""What the tensors of a reply say for Triton's metrics; `triton.py` hands it over."""

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
    "boxwise_images_total": "Images whose boxes were made.",
    "boxwise_boxes_total": "Boxes in replies.",
    "boxwise_boxes_dropped_total": "Boxes that were left out, since a reply had as many as its "
    "request "
    "allows.",
    "boxwise_crops_total": "Boxes that a classifier was asked about.",
    "boxwise_decode_seconds_total": "Seconds that files took to be decoded.",
    "boxwise_stage_seconds_total": "Seconds of each stage of a pipeline that is laid out as one "
    "model.",
    _WAITING: "Requests that wait in a line of ours, now.",
    _QUEUE_SECONDS: "Seconds that requests waited in a line of ours.",
    _WORK_SECONDS: "Seconds that requests were worked on, when their turn had come.",
    _REFUSALS: "Requests that were refused with INVALID_ARGUMENT, by the reason.",
    _OVERLOADS: "Requests that were refused with UNAVAILABLE, since others waited before them, by "
    "the "
    "reason.",
}
GAUGES = (_WAITING,)  # the rest are counters
SECONDS_OF = "seconds."  # and a stage: what it took, among the outputs of a runner


class Series(NamedTuple):
    """One counter: a name of `FAMILIES`, and a label and its value where the family has one."""

    family: str
    label: str = ""
    value: str = ""


def counts(outputs: Mapping[str, NDArray[Any]]) -> Iterator[tuple[Series, float]]:
    """What one request adds, by the outputs of a stage or of a runner."""
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
    """Counts of many threads, until they are taken: adding costs nothing here, and 16 microseconds
    in Triton.

    Args:
        refuses: whether requests can be refused here.
        line: where they wait here, if they do.
    """

    def __init__(self, *, refuses: bool = False, queue: RequestQueue[Any] | None = None) -> None:
        # Nothing of a kind is said as well: what first appears as 10 has no rate.
        refusals = [Series(_REFUSALS, "reason", reason) for reason in REASONS if refuses]
        overloads = [Series(_OVERLOADS, "reason", reason) for reason in get_args(Overload) if queue]
        self._counts = defaultdict(float, dict.fromkeys([*refusals, *overloads], 0.0))
        self._queue = queue
        self._line_said = dict.fromkeys((_WAITING, _QUEUE_SECONDS, _WORK_SECONDS), 0.0)
        self._lock = threading.Lock()

    def add(self, outputs: Mapping[str, NDArray[Any]]) -> None:
        """Count a request that was answered."""
        with self._lock:
            for series, amount in counts(outputs):
                self._counts[series] += amount

    def add_refusal(self, reason: str) -> None:
        """Count a request that was refused."""
        with self._lock:
            self._counts[Series(_REFUSALS, "reason", reason)] += 1

    def add_overload(self, reason: Overload) -> None:
        """Count a request that others were before."""
        with self._lock:
            self._counts[Series(_OVERLOADS, "reason", reason)] += 1

    def take(self) -> Mapping[Series, float]:
        """What was counted since the last time: of a gauge, how much it has risen or fallen."""
        with self._lock:
            taken, self._counts = self._counts, defaultdict(float)
        if self._queue:
            queue = self._queue
            now = {
                _WAITING: float(queue.waiting),
                _QUEUE_SECONDS: queue.waited_s,
                _WORK_SECONDS: queue.worked_s,
            }
            taken |= {Series(name): value - self._line_said[name] for name, value in now.items()}
            self._line_said = now
        return taken
