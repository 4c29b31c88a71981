"""Spans, metrics and logs of an application that collects them."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from contract_support.either import CLIENTS
from contract_support.images import IMAGE
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from boxwise import DeadlineExceeded, InvalidImage, Unavailable
from boxwise.testing import FakeServer

SPANS, READER = InMemorySpanExporter(), InMemoryMetricReader()


@pytest.fixture(scope="module", autouse=True)
def collected() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SPANS))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([READER]))


@pytest.fixture(params=sorted(CLIENTS))
def connect(request: pytest.FixtureRequest) -> Any:
    SPANS.clear()
    return CLIENTS[request.param]


def points(name: str) -> list[Any]:
    data = READER.get_metrics_data()
    every = (
        [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        if data
        else []
    )
    return [point for metric in every if metric.name == name for point in metric.data.data_points]


def test_a_call_is_a_span_that_goes_on_in_the_server(connect: Any) -> None:
    with FakeServer() as server, connect(server.url) as client:
        server.find("cup", (0, 0, 1, 1), 0.9)
        client.predict(IMAGE)
    (span,) = SPANS.get_finished_spans()
    assert (span.name, span.kind) == ("boxwise.predict boxwise", trace.SpanKind.CLIENT)
    assert span.attributes["boxwise.attempts"] == 1
    assert span.attributes["boxwise.detections"] == 1
    request = server.requests[-1]
    assert request.request_id == span.attributes["boxwise.request_id"]
    assert request.metadata["traceparent"].split("-")[1] == format(span.context.trace_id, "032x")
    assert request.metadata["traceparent"].split("-")[2] == format(span.context.span_id, "016x")


def test_a_failure_is_on_its_span_and_in_the_metrics(connect: Any) -> None:
    with FakeServer() as server, connect(server.url) as client:
        client.info()
        server.fail(Unavailable, times=1)
        client.predict(IMAGE)
        with pytest.raises(InvalidImage):
            client.predict(b"no image")
        server.delay_s = 0.5
        with pytest.raises(DeadlineExceeded):
            client.predict(IMAGE, timeout_s=0.1)
    again, refused, late = SPANS.get_finished_spans()
    assert (again.attributes["boxwise.attempts"], again.status.is_ok) == (2, True)
    assert refused.attributes["error.type"] == "InvalidImage"
    assert refused.attributes["rpc.grpc.status_code"] == 3
    assert late.attributes["error.type"] == "DeadlineExceeded"
    assert not late.status.is_ok
    kinds = {point.attributes.get("error.type") for point in points("boxwise.client.duration")}
    assert {None, "InvalidImage", "DeadlineExceeded"} <= kinds
    assert sum(point.value for point in points("boxwise.client.retries")) >= 1


def test_a_call_is_one_line_of_the_log_with_its_fields(
    connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "boxwise")
    with FakeServer() as server, connect(server.url) as client:
        client.predict(IMAGE)
    (record,) = [each for each in caplog.records if hasattr(each, "request_id")]
    fields = vars(record)
    assert (fields["pipeline"], fields["outcome"], fields["attempts"]) == ("boxwise", "ok", 1)
    assert fields["duration_s"] > 0


def test_nothing_is_imported_for_those_who_collect_nothing() -> None:
    code = (
        "import sys; from boxwise import Client\nwith Client('localhost:1') as c: "
        "c.live()\nprint(*sys.modules)"
    )
    modules = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not [name for name in modules if name.startswith("opentelemetry")]
