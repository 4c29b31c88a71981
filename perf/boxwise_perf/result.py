"""Results: immutable, versioned JSON that says what was measured, how, and on what."""

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
from boxwise_perf.stats import Estimate
from boxwise_perf.steady import Steadiness
from boxwise_perf.triton_statistics import Stage
from boxwise_perf.tune import Tuning
from boxwise_perf.usage import GpuUse, ServerUse

FORMAT = "boxwise-perf/1"


class ResultError(ValueError):
    """A result that cannot be read, or results that do not belong together;
    a sentence for people.
    """


@dataclass(frozen=True)
class LoadTarget:
    """What was asked: a pipeline of a repository that was served for the run, or of a server that
    was there already.
    """

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
    """A number that every request has."""

    mean: float
    p50: float
    p99: float
    max: float


@dataclass(frozen=True)
class Streams:
    """Video streams of 30 frames a second, as many as the answered rate makes.

    Attributes:
        kept_up: floor(images/s / 30), where no request failed and latency did not grow; else 0.
        late_share: of the frames, those answered later than a frame's 33.3 ms after their scheduled
            send.
        held: `kept_up` where not one frame was late; else 0.
    """

    kept_up: int
    late_share: float
    held: int


@dataclass(frozen=True)
class Columns:
    """The requests themselves, a column each: seconds from the start of the warm-up, boxes, error
    class or "".
    """

    scheduled: tuple[float, ...]
    sent: tuple[float, ...]
    done: tuple[float, ...]
    boxes: tuple[int, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """One load for a time. Everything but `samples` is without the warm-up.

    Attributes:
        load: closed or open loop.
        warm_up_s: seconds of the same load that were discarded.
        seconds: that were measured.
        seed: of Poisson arrivals.
        requests: sent, failed ones included.
        failed: error class -> requests.
        messages: error class -> its first message.
        images_per_s: answered requests.
        boxes_per_s: boxes of the answers.
        boxes_per_image: of answered requests.
        latency_ms: "p50", "p90", "p99", "p99.9", of answered requests, from the scheduled send to
            the last byte; None where there are too few requests for the percentile.
        latency_mean_ms: the same, their mean.
        send_lag_ms: how late the generator was itself; None in a closed loop.
        streams: of 30 frames a second.
        steady: whether the run was.
        void: why the figures say nothing about the server, None where they do.
        generator_cpu: of one core, what the load generator used.
        stages: the pipeline's models, "" the pipeline itself.
        server: CPU and memory; None for a server that is not ours.
        gpus: of this machine.
        notes: what is not there, and why.
        samples: the requests, warm-up included; None where they were not kept.
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
    """One rate on the way to the highest that holds."""

    phase: Literal["search", "confirm"]
    rate: float
    held: bool
    why: str
    trial: Trial


@dataclass(frozen=True)
class Slo:
    """The highest rate that was confirmed to hold a latency; None where none did."""

    p99_ms: float
    rate: float | None
    tries: tuple[Try, ...]


@dataclass(frozen=True)
class Block:
    """One block of a comparison: images/s and the p50 of the latency in milliseconds."""

    images_per_s: float
    p50_ms: float


@dataclass(frozen=True)
class Comparison:
    """B against A.

    Attributes:
        a: the one.
        b: the other.
        load: of every block.
        block_s: seconds of each; 0 for results that were measured apart.
        seed: of the order of the blocks.
        pairs: (A, B), next to each other in time.
        throughput: images/s of B / A, the geometric mean over the pairs.
        latency_p50: the same of the p50.
        verdict: a sentence.
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
    """What one command found: the trials of `run`, the search of `slo` (its trial is the capacity)
    or of `tune`, or comparisons.
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


def now() -> str:
    """The time as ISO 8601 in UTC, for `Result.created`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def document(result: Result, *, samples: bool) -> dict[str, Any]:
    """A result as JSON has it, with or without the single requests."""
    found: dict[str, Any] = _RESULT.dump_python(result, mode="json")
    if not samples:
        tries = found["slo"]["tries"] if found["slo"] else ()
        for trial in (*found["trials"], *(each["trial"] for each in tries)):
            del trial["samples"]
    return found


def text(result: Result) -> str:
    """A result as its file has it."""
    return json.dumps(document(result, samples=True), ensure_ascii=False) + "\n"


def load(file: Path) -> Result:
    """Read a result's file.

    Raises:
        ResultError: not a result, or one of another version of the format.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{file}: cannot be read as a result: {error}") from error
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
    """Raise ResultError, with what differs, unless all were measured on machines alike."""
    for other in results[1:]:
        if difference := results[0].machine.difference(other.machine):
            raise ResultError(
                f"the results are of different machines ({difference}): measure on one machine, "
                "or make a report of each"
            )
