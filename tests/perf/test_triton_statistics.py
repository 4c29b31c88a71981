"""Stages between two readings of Triton's counters."""

import pytest

from boxwise_perf.triton_statistics import PARTS, Counters, stages


def counters(requests: int, rows: int, executions: int, ms: float, batches: dict[int, int], most: int = 0) -> Counters:
    ns = {part: int(ms * 1e6 * requests) for part in PARTS}
    return Counters(requests, rows, executions, ns | {"total": sum(ns.values())}, batches, most)


def test_no_models() -> None:
    assert stages("boxwise", {}, {}) == ()


def test_only_what_happened_in_between_counts() -> None:
    before = {"street_detector": counters(10, 10, 10, 1, {1: 10}, 8), "street_raw": counters(3, 3, 3, 1, {1: 3})}
    after = {
        "street_assemble": counters(20, 20, 20, 0.5, {1: 20}),
        "street_detector": counters(30, 30, 15, 1, {1: 10, 4: 5}, 8),
        "street_preprocess": counters(20, 20, 20, 2, {1: 20}),
        "street_raw": counters(3, 3, 3, 1, {1: 3}),
        "street": counters(20, 20, 20, 4, {1: 20}),
        "street_classifier_kind": counters(20, 100, 20, 1, {5: 20}, 100),
    }
    found = stages("street", before, after)
    assert [stage.name for stage in found] == ["", "preprocess", "detector", "classifier_kind", "assemble"]
    detector = found[2]
    assert (detector.requests, detector.executions, detector.mean_batch, detector.batches) == (20, 5, 4, {4: 5})
    assert detector.fill == 0.5
    assert detector.infer_ms == pytest.approx(1)
    assert detector.total_ms == pytest.approx(4)
    assert found[1].fill is None
    assert found[3].mean_batch == 5
