"""Spans, metrics and logs of calls, for applications that use OpenTelemetry.

An application that collects telemetry has imported `opentelemetry` itself; for others, nothing is
imported. Names follow the semantic conventions of RPC clients if there are any (`rpc.system`,
`error.type`).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from boxwise._grpc import CODES

LOG = logging.getLogger("boxwise")


@dataclass(slots=True)
class Observed:
    """The record of one call.

    Attributes:
        metadata: headers that carry the trace to the server.
        attempts: how often it was sent.
        encode_s: seconds of encoding for a certain server, which is part of sending.
        attributes: of the span.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    encode_s: float = 0.0
    attributes: dict[str, Any] = field(default_factory=dict)


def wanted() -> bool:
    """Return whether traces or debug logs are collected, so that calls are measured."""
    return "opentelemetry.trace" in sys.modules or LOG.isEnabledFor(logging.DEBUG)


@contextmanager
def observed(pipeline: str, request_id: str, call: Observed) -> Iterator[None]:
    """Measure the block as one call; an exception is its outcome."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    started = time.perf_counter()
    span = _start_span(trace, pipeline, request_id, call) if trace is not None else None
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        seconds = time.perf_counter() - started
        outcome = type(error).__name__ if error is not None else "ok"
        fields = {
            "pipeline": pipeline,
            "request_id": request_id,
            "outcome": outcome,
            "duration_s": seconds,
            "attempts": call.attempts,
        }
        sentence = "%s %s: %s in %.1f ms, sent %d times"
        LOG.debug(
            sentence, pipeline, request_id, outcome, seconds * 1e3, call.attempts, extra=fields
        )
        if span is not None:
            _end_span(trace, span, call, error)
            _measure(pipeline, seconds, call, error)


def _start_span(trace: Any, pipeline: str, request_id: str, call: Observed) -> Any:
    from opentelemetry import propagate

    span = trace.get_tracer("boxwise").start_span(
        f"boxwise.predict {pipeline}",
        kind=trace.SpanKind.CLIENT,
        attributes={
            "rpc.system": "grpc",
            "rpc.service": "inference.GRPCInferenceService",
            "rpc.method": "ModelInfer",
            "boxwise.pipeline": pipeline,
            "boxwise.request_id": request_id,
        },
    )
    propagate.inject(call.metadata, context=trace.set_span_in_context(span))
    return span


def _end_span(trace: Any, span: Any, call: Observed, error: BaseException | None) -> None:
    span.set_attributes({"boxwise.attempts": call.attempts, **call.attributes})
    if error is not None:
        code = getattr(error, "code", None)
        number = {"rpc.grpc.status_code": CODES.index(code)} if code in CODES else {}
        span.set_attributes({"error.type": type(error).__name__, **number})
        span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
    span.end()


_instruments: dict[str, Any] = {}


def _measure(pipeline: str, seconds: float, call: Observed, error: BaseException | None) -> None:
    if not _instruments:
        from opentelemetry import metrics

        meter = metrics.get_meter("boxwise")
        _instruments["duration"] = meter.create_histogram(
            "boxwise.client.duration",
            unit="s",
            description="From the call of predict to its result or error.",
        )
        _instruments["retries"] = meter.create_counter(
            "boxwise.client.retries", description="Requests that were sent again."
        )
    attributes = {
        "boxwise.pipeline": pipeline,
        **({"error.type": type(error).__name__} if error is not None else {}),
    }
    _instruments["duration"].record(seconds, attributes)
    if call.attempts > 1:
        _instruments["retries"].add(call.attempts - 1, {"boxwise.pipeline": pipeline})
