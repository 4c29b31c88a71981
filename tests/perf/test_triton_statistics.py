"""Stages between two readings of Triton's counters."""

import pytest

from boxwise_perf.prometheus import parse
from boxwise_perf.triton_statistics import PARTS, Counters, stages, stages_inside, with_queues


def counters(
    requests: int, rows: int, executions: int, ms: float, batches: dict[int, int], most: int = 0
) -> Counters:
    ns = {part: int(ms * 1e6 * requests) for part in PARTS}
    return Counters(requests, rows, executions, ns | {"total": sum(ns.values())}, batches, most)


METRICS = """
# TYPE boxwise_images_total counter
boxwise_images_total{model="street"} 4
boxwise_images_total{model="street_2"} 7
boxwise_stage_seconds_total{model="street",stage="nms"} 0.002
boxwise_stage_seconds_total{model="street",stage="detector"} 1.6e-01
boxwise_stage_seconds_total{model="street_2",stage="detector"} 9
nv_inference_count{model="street",version="1"} 4
"""


def test_the_stages_inside_one_model_are_read_from_its_metrics() -> None:
    assert stages_inside("street", []) == {}
    found = stages_inside("street", parse(METRICS))
    assert list(found) == ["street_nms", "street_detector"]
    assert [(each.requests, each.ns["total"]) for each in found.values()] == [
        (4, 2_000_000),
        (4, 160_000_000),
    ]
    assert [(each.name, each.infer_ms, each.queue_ms) for each in stages("street", {}, found)] == [
        ("detector", 40, 0),
        ("nms", 0.5, 0),
    ]


def test_what_waits_and_works_in_our_processes_is_counted_by_them() -> None:
    said = {"street": counters(4, 4, 4, 1, {}), "street_raw": counters(1, 1, 1, 1, {})}
    assert with_queues(said, []) == said
    own = """
boxwise_queue_seconds_total{model="street"} 0.012
boxwise_work_seconds_total{model="street"} 0.1
"""
    found = with_queues(said, parse(own))
    assert found["street_raw"] == said["street_raw"]
    ns = found["street"].ns
    assert ns["queue"] == said["street"].ns["queue"] + 12_000_000
    assert ns["compute_infer"] == 100_000_000
    assert ns["total"] == sum(ns[part] for part in PARTS)


def test_no_models() -> None:
    assert stages("boxwise", {}, {}) == ()


def test_only_what_happened_in_between_counts() -> None:
    before = {
        "street_detector": counters(10, 10, 10, 1, {1: 10}, 8),
        "street_raw": counters(3, 3, 3, 1, {1: 3}),
    }
    after = {
        "street_assemble": counters(20, 20, 20, 0.5, {1: 20}),
        "street_detector": counters(30, 30, 15, 1, {1: 10, 4: 5}, 8),
        "street_preprocess": counters(20, 20, 20, 2, {1: 20}),
        "street_raw": counters(3, 3, 3, 1, {1: 3}),
        "street": counters(20, 20, 20, 4, {1: 20}),
        "street_classifier_kind": counters(20, 100, 20, 1, {5: 20}, 100),
    }
    found = stages("street", before, after)
    assert [stage.name for stage in found] == [
        "",
        "preprocess",
        "detector",
        "classifier_kind",
        "assemble",
    ]
    detector = found[2]
    assert (detector.requests, detector.executions, detector.mean_batch, detector.batches) == (
        20,
        5,
        4,
        {4: 5},
    )
    assert detector.fill == 0.5
    assert detector.infer_ms == pytest.approx(1)
    assert detector.total_ms == pytest.approx(4)
    assert found[1].fill is None
    assert found[3].mean_batch == 5
