"""Prometheus' text format, as Triton writes it."""

from boxwise_perf.prometheus import Sample, parse

PAGE = """\
# HELP nv_cpu_utilization CPU utilization rate [0.0 - 1.0]
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.5
nv_inference_count{model="street",version="1"} 4
boxwise_stage_seconds_total{model="street",stage="nms"} 1.6e-01
"""


def test_an_empty_page() -> None:
    assert parse("") == []


def test_names_labels_and_values() -> None:
    assert parse(PAGE) == [
        Sample("nv_cpu_utilization", {}, 0.5),
        Sample("nv_inference_count", {"model": "street", "version": "1"}, 4),
        Sample("boxwise_stage_seconds_total", {"model": "street", "stage": "nms"}, 0.16),
    ]
