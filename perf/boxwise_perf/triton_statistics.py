"""The time in each stage: Triton's statistics of the models, and the pipeline's own metrics.

TritonStatistics.read() before, after ─▶ stages() ─▶ Stage per model
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from boxwise_perf.prometheus import Sample, scrape

PARTS = ("queue", "compute_input", "compute_infer", "compute_output")
# The order of the stages in a request; others follow by name.
_ORDER = ("preprocess", "detector", "whole_picture", "nms", "classifier", "assemble")
_TIMEOUT_S = 30  # the server may be busy with the load that is measured


@dataclass(frozen=True)
class Counters:
    """Triton's counters of one model since the server started, summed over its versions.

    Attributes:
        requests: number of successful requests.
        rows: number of inferences; a batch of four counts four.
        executions: of the model, each of one or more requests.
        ns: nanoseconds over all requests: `total` and each of `PARTS`.
        batches: rows of an execution -> number of executions.
        max_batch: limit of rows in an execution; 0 if the model does not batch.
    """

    requests: int
    rows: int
    executions: int
    ns: Mapping[str, int]
    batches: Mapping[int, int]
    max_batch: int = 0


@dataclass(frozen=True)
class Stage:
    """One model of the pipeline during a run: counts, and mean milliseconds per request.

    Attributes:
        name: of the model, without the pipeline's name; "" is the pipeline itself, from the
            request's arrival to its response.
        requests: number of successful requests.
        executions: of the model.
        mean_batch: mean rows of an execution.
        max_batch: limit of rows in an execution; 0 if the model does not batch.
        batches: rows of an execution -> number of executions.
        total_ms: sum of the parts.
        queue_ms: in the queue.
        input_ms: copying input tensors.
        infer_ms: inference.
        output_ms: copying output tensors.
    """

    name: str
    requests: int
    executions: int
    mean_batch: float
    max_batch: int
    total_ms: float
    queue_ms: float
    input_ms: float
    infer_ms: float
    output_ms: float
    batches: dict[int, int] = field(default_factory=dict)

    @property
    def fill(self) -> float | None:
        """Mean batch / largest allowed batch; None if the model does not batch."""
        return self.mean_batch / self.max_batch if self.max_batch else None


class StatisticsError(RuntimeError):
    """The server does not return statistics."""


class TritonStatistics(AbstractContextManager["TritonStatistics"]):
    """The statistics of one pipeline's models.

    Args:
        url: HOST:PORT of the server's gRPC endpoint.
        pipeline: its name, with which the names of its models begin.
        metrics: URL of the server's metrics, in which a pipeline of one model counts the seconds of
            its stages; None if unknown.
    """

    def __init__(self, url: str, pipeline: str, metrics: str | None = None) -> None:
        self._client = InferenceServerClient(url)
        self._pipeline = pipeline
        self._metrics = metrics
        self._limits: dict[str, int] = {}

    def read(self) -> dict[str, Counters]:
        """Return the counters of each model. Raises StatisticsError if there is no response."""
        try:
            found = self._client.get_inference_statistics(client_timeout=_TIMEOUT_S).model_stats
            ours = [
                each
                for each in found
                if each.name == self._pipeline or each.name.startswith(f"{self._pipeline}_")
            ]
            counters: dict[str, Counters] = {}
            for each in ours:
                one = _counters(each, self._max_batch(each.name))
                counters[each.name] = (
                    _sum(counters[each.name], one) if each.name in counters else one
                )
            own = scrape(self._metrics, _TIMEOUT_S) if self._metrics else []
        except InferenceServerException as error:
            raise StatisticsError(f"no statistics of the stages: {error.message()}") from error
        except OSError as error:
            raise StatisticsError(f"no metrics at {self._metrics}: {error}") from error
        return stages_inside(self._pipeline, own) | with_queues(counters, own)

    def _max_batch(self, model: str) -> int:
        if model not in self._limits:
            config = self._client.get_model_config(model, client_timeout=_TIMEOUT_S).config
            self._limits[model] = int(config.max_batch_size)
        return self._limits[model]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._client.close()


def stages_inside(pipeline: str, metrics: Iterable[Sample]) -> dict[str, Counters]:
    """Return the counters of the stages inside a pipeline of one model, from its own metrics.

    Workers publish their metrics once a second, so over ten seconds a tenth of the requests may be
    missing. The means are right.
    """
    ours = [each for each in metrics if each.labels.get("model") == pipeline]
    images = round(sum(each.value for each in ours if each.name == "boxwise_images_total"))
    counters = {}
    for each in ours:
        if each.name == "boxwise_stage_seconds_total":
            spent = dict.fromkeys(PARTS, 0) | dict.fromkeys(
                ("total", "compute_infer"), round(each.value * 1e9)
            )
            counters[f"{pipeline}_{each.labels['stage']}"] = Counters(
                images, images, images, spent, {}
            )
    return counters


def with_queues(counters: Mapping[str, Counters], metrics: Iterable[Sample]) -> dict[str, Counters]:
    """Replace Triton's counters of models with a queue of their own by the models' own metrics.

    For Triton, a request ends when the worker process enqueues it; work follows later.
    """
    seconds = {(each.name, each.labels.get("model")): round(each.value * 1e9) for each in metrics}
    corrected = dict(counters)
    for model, each in counters.items():
        if work := seconds.get(("boxwise_work_seconds_total", model)):
            queue = each.ns["queue"] + seconds[("boxwise_queue_seconds_total", model)]
            ns = dict(each.ns) | {"queue": queue, "compute_infer": work}
            corrected[model] = replace(each, ns=ns | {"total": sum(ns[part] for part in PARTS)})
    return corrected


def stages(
    pipeline: str, before: Mapping[str, Counters], after: Mapping[str, Counters]
) -> tuple[Stage, ...]:
    """Return what each model did between two readings, the pipeline itself first.

    Models without a request are left out.
    """
    nothing = Counters(0, 0, 0, {}, {})
    found = []
    for model, late in after.items():
        early = before.get(model, nothing)
        requests, executions = late.requests - early.requests, late.executions - early.executions
        if requests <= 0 or executions <= 0:
            continue
        ms = {part: (ns - early.ns.get(part, 0)) / requests / 1e6 for part, ns in late.ns.items()}
        batches = {
            rows: count - early.batches.get(rows, 0) for rows, count in sorted(late.batches.items())
        }
        found.append(
            Stage(
                name=model.removeprefix(pipeline).removeprefix("_"),
                requests=requests,
                executions=executions,
                mean_batch=(late.rows - early.rows) / executions,
                max_batch=late.max_batch,
                total_ms=ms["total"],
                queue_ms=ms["queue"],
                input_ms=ms["compute_input"],
                infer_ms=ms["compute_infer"],
                output_ms=ms["compute_output"],
                batches={rows: count for rows, count in batches.items() if count},
            )
        )
    return tuple(sorted(found, key=_rank))


def _rank(stage: Stage) -> tuple[int, str]:
    if not stage.name:
        return -1, ""
    for place, word in enumerate(_ORDER):
        if stage.name == word or stage.name.startswith(f"{word}_"):
            return place, stage.name
    return len(_ORDER), stage.name


def _counters(model: Any, max_batch: int) -> Counters:
    totals = model.inference_stats
    return Counters(
        totals.success.count,
        model.inference_count,
        model.execution_count,
        {"total": totals.success.ns} | {part: getattr(totals, part).ns for part in PARTS},
        {batch.batch_size: batch.compute_infer.count for batch in model.batch_stats},
        max_batch,
    )


def _sum(one: Counters, other: Counters) -> Counters:
    return Counters(
        one.requests + other.requests,
        one.rows + other.rows,
        one.executions + other.executions,
        {part: one.ns[part] + other.ns[part] for part in one.ns},
        {
            rows: one.batches.get(rows, 0) + other.batches.get(rows, 0)
            for rows in {*one.batches, *other.batches}
        },
        max(one.max_batch, other.max_batch),
    )
