"""Where the time goes: Triton's own statistics of each model, before and after a run."""

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
# In the order a request meets them; others come last, by name.
_ORDER = ("preprocess", "detector", "whole_picture", "nms", "classifier", "assemble")
_TIMEOUT_S = 30  # the server may be busy with the load that is measured


@dataclass(frozen=True)
class Counters:
    """What Triton has counted for one model since it started; all its versions together.

    Attributes:
        requests: that succeeded.
        rows: inferences; a batch of four is four.
        executions: of the model, each with one or more requests.
        ns: nanoseconds over all requests: `total` and each of `PARTS`.
        batches: rows of an execution -> executions.
        max_batch: the most rows of an execution, 0 where the model takes no batches.
    """

    requests: int
    rows: int
    executions: int
    ns: Mapping[str, int]
    batches: Mapping[int, int]
    max_batch: int = 0


@dataclass(frozen=True)
class Stage:
    """One model of the pipeline during a run: counts, and milliseconds of a request on average.

    Attributes:
        name: without the pipeline's; "" is the pipeline itself, from the request's arrival to its
            answer.
        requests: that succeeded.
        executions: of the model.
        mean_batch: rows of an execution, on average.
        max_batch: the most that its configuration allows, 0 where it takes no batches.
        batches: rows of an execution -> executions.
        total_ms: all of the parts.
        queue_ms: waiting for an instance.
        input_ms: tensors on their way to the model.
        infer_ms: the model.
        output_ms: tensors on their way back.
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
        """Of the largest batch that the model allows, the share that its mean batch is; None
        without batches.
        """
        return self.mean_batch / self.max_batch if self.max_batch else None


class StatisticsError(RuntimeError):
    """The server does not tell its statistics."""


class TritonStatistics(AbstractContextManager["TritonStatistics"]):
    """The statistics of one pipeline's models, asked for over gRPC.

    Args:
        url: HOST:PORT of the server's gRPC endpoint.
        pipeline: whose models are looked at: its own name, and all that begin with it.
        metrics: the address of its metrics, where a pipeline that is one model counts the seconds
            of its stages; None where they are not to be had.
    """

    def __init__(self, url: str, pipeline: str, metrics: str | None = None) -> None:
        self._client = InferenceServerClient(url)
        self._pipeline = pipeline
        self._metrics = metrics
        self._limits: dict[str, int] = {}

    def read(self) -> dict[str, Counters]:
        """Model -> its counters. Raises StatisticsError where the server does not answer."""
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
        return stages_inside(self._pipeline, own) | with_lines(counters, own)

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
    """The stages that a pipeline which is one model has inside, as if they were models, by its own
    metrics.

    They are handed over once a second, so over ten seconds a tenth of the requests may be missing;
    the means are right.
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


def with_lines(counters: Mapping[str, Counters], metrics: Iterable[Sample]) -> dict[str, Counters]:
    """What Triton counted, where our processes have lines with what they counted themselves.

    Triton's time of a request ends when the process has taken it, and its turn may come later.
    """
    said = {(each.name, each.labels.get("model")): round(each.value * 1e9) for each in metrics}
    corrected = dict(counters)
    for model, each in counters.items():
        if work := said.get(("boxwise_work_seconds_total", model)):
            queue = each.ns["queue"] + said[("boxwise_queue_seconds_total", model)]
            ns = dict(each.ns) | {"queue": queue, "compute_infer": work}
            corrected[model] = replace(each, ns=ns | {"total": sum(ns[part] for part in PARTS)})
    return corrected


def stages(
    pipeline: str, before: Mapping[str, Counters], after: Mapping[str, Counters]
) -> tuple[Stage, ...]:
    """What each model did between two readings, the pipeline itself first, those that did nothing
    left out.
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
            rows: many - early.batches.get(rows, 0) for rows, many in sorted(late.batches.items())
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
                batches={rows: many for rows, many in batches.items() if many},
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
    said = model.inference_stats
    return Counters(
        said.success.count,
        model.inference_count,
        model.execution_count,
        {"total": said.success.ns} | {part: getattr(said, part).ns for part in PARTS},
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
