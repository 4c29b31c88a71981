"""Results: immutable, versioned JSON with figures, load, machine and versions.

    new() ─▶ Result ─▶ text() ─▶ file ─▶ load() ─▶ Result ─▶ page.py, plots.py, compare.py

The names of the fields are the keys of the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from boxwise_perf.images import ImageSet
from boxwise_perf.load import Closed, Open
from boxwise_perf.machine import Machine
from boxwise_perf.stats import CONFIDENCE, Estimate
from boxwise_perf.steady import Steadiness
from boxwise_perf.triton_statistics import Stage
from boxwise_perf.tune import Tuning
from boxwise_perf.usage import GpuUse, ServerUse

FORMAT = "boxwise-perf/1"


class ResultError(ValueError):
    """A result file is invalid, or results cannot be compared. Its message is for users."""


@dataclass(frozen=True)
class LoadTarget:
    """The measured pipeline: of a repository served for the run, or of a running server."""

    pipeline: str
    repository: str | None
    url: str | None
    digests: dict[str, str]

    def __str__(self) -> str:
        return (
            f"{self.pipeline} of {self.repository}"
            if self.repository
            else f"{self.pipeline} at {self.url}"
        )


@dataclass(frozen=True)
class Distribution:
    """The distribution of a number over requests."""

    mean: float
    p50: float
    p99: float
    max: float


@dataclass(frozen=True)
class Streams:
    """The number of 30 fps video streams that the throughput equals.

    Attributes:
        kept_up: floor(images/s / 30); 0 if a request failed or latency grew.
        late_share: the share of frames whose response came more than 33.3 ms (one frame) after
            their scheduled send.
        held: `kept_up`; 0 if any frame was late.
    """

    kept_up: int
    late_share: float
    held: int


@dataclass(frozen=True)
class Columns:
    """Every request, in columns: seconds from the start of the warm-up, number of boxes, and error
    class or "".
    """

    scheduled: tuple[float, ...]
    sent: tuple[float, ...]
    done: tuple[float, ...]
    boxes: tuple[int, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """The figures of one load. All but `samples` exclude the warm-up.

    Attributes:
        load: closed or open loop.
        warm_up_s: duration of the discarded warm-up in seconds.
        seconds: measured duration.
        seed: of Poisson arrivals.
        requests: number sent, failed ones included.
        failed: error class -> number of requests.
        messages: error class -> its first message.
        images_per_s: throughput of successful requests.
        boxes_per_s: throughput of boxes.
        boxes_per_image: of successful requests.
        latency_ms: "p50", "p90", "p99", "p99.9" of successful requests, from the scheduled send to
            the last byte; None if there are too few requests for the percentile.
        latency_mean_ms: mean of the same latencies.
        send_lag_ms: delay of sends by the generator itself; None in a closed loop.
        streams: the throughput in video streams.
        steady: whether the run was in its steady state.
        void: why the run does not measure the server; None if it does.
        generator_cpu: the load generator's use of one core, 0 to 1.
        stages: the pipeline's models; the pipeline itself has the name "".
        server: CPU and memory; None for a server that we did not start.
        gpus: of this machine.
        notes: what is missing, and why.
        samples: every request, warm-up included; None if they were not kept.
    """

    load: Closed | Open
    warm_up_s: float
    seconds: float
    seed: int
    requests: int
    failed: dict[str, int]
    messages: dict[str, str]
    images_per_s: Estimate
    boxes_per_s: Estimate
    boxes_per_image: Distribution
    latency_ms: dict[str, Estimate | None]
    latency_mean_ms: float
    send_lag_ms: Distribution | None
    streams: Streams
    steady: Steadiness
    void: str | None
    generator_cpu: float
    stages: tuple[Stage, ...]
    server: ServerUse | None
    gpus: tuple[GpuUse, ...]
    notes: tuple[str, ...]
    samples: Columns | None = None


@dataclass(frozen=True)
class Try:
    """One rate of the search."""

    phase: Literal["search", "confirm"]
    rate: float
    held: bool
    why: str
    trial: Trial


@dataclass(frozen=True)
class Slo:
    """The search for the highest rate that holds a p99; `rate` is None if none was confirmed."""

    p99_ms: float
    rate: float | None
    tries: tuple[Try, ...]


@dataclass(frozen=True)
class Block:
    """One block of a comparison: images/s, and the p50 latency in milliseconds."""

    images_per_s: float
    p50_ms: float


@dataclass(frozen=True)
class Comparison:
    """B against A.

    Attributes:
        a: side A.
        b: side B.
        load: of every block.
        block_s: duration of a block in seconds; 0 for results that were measured apart.
        seed: of the order of the blocks.
        pairs: (A, B), measured one after the other.
        throughput: images/s of B / A, geometric mean over the pairs.
        latency_p50: p50 latency of B / A, geometric mean over the pairs.
        verdict: a sentence on the throughput.
    """

    a: LoadTarget
    b: LoadTarget
    load: Closed | Open
    block_s: float
    seed: int
    pairs: tuple[tuple[Block, Block], ...]
    throughput: Estimate
    latency_p50: Estimate
    verdict: str


@dataclass(frozen=True)
class Result:
    """The result of one command: trials of `run`, the search of `slo` (its trial measured the
    capacity), comparisons, or a tuning.
    """

    format: str
    created: str
    machine: Machine
    target: LoadTarget | None
    pictures: ImageSet | None
    confidence: float
    trials: tuple[Trial, ...] = ()
    slo: Slo | None = None
    comparisons: tuple[Comparison, ...] = ()
    tuning: Tuning | None = None


_RESULT = TypeAdapter(Result)


def new(
    target: LoadTarget | None,
    images: ImageSet | None,
    *,
    confidence: float = CONFIDENCE,
    trials: Sequence[Trial] = (),
    slo: Slo | None = None,
    comparisons: Sequence[Comparison] = (),
    tuning: Tuning | None = None,
) -> Result:
    """Return a result of this machine and this moment."""
    return Result(
        FORMAT,
        datetime.now(UTC).isoformat(timespec="seconds"),
        Machine.here(),
        target,
        images,
        confidence,
        tuple(trials),
        slo,
        tuple(comparisons),
        tuning,
    )


def document(result: Result, *, samples: bool) -> dict[str, Any]:
    """Return a result as JSON types, with or without the requests of its trials."""
    found: dict[str, Any] = _RESULT.dump_python(result, mode="json")
    if not samples:
        tries = found["slo"]["tries"] if found["slo"] else ()
        for trial in (*found["trials"], *(each["trial"] for each in tries)):
            del trial["samples"]
    return found


def text(result: Result) -> str:
    """Return the content of a result's file."""
    return json.dumps(document(result, samples=True), ensure_ascii=False) + "\n"


def load(file: Path) -> Result:
    """Read a result's file.

    Raises:
        ResultError: not a result, or of another version of the format.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{file}: is not a result: {error}") from error
    kind = found.get("format") if isinstance(found, dict) else None
    if kind != FORMAT:
        raise ResultError(
            f"{file}: expected a result of format {FORMAT}, got {kind}: "
            "read it with the boxwise that wrote it, or measure again"
        )
    try:
        return _RESULT.validate_python(found, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ResultError(
            f"{file}: {where}: {first['msg']}: the file is damaged, measure again"
        ) from error


def check_one_machine(results: Sequence[Result]) -> None:
    """Raise ResultError if results were measured on different kinds of machine."""
    for other in results[1:]:
        if difference := results[0].machine.difference(other.machine):
            raise ResultError(
                f"the results are of different machines ({difference}): measure on one machine, "
                "or make a report of each"
            )
