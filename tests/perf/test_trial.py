"""From requests to figures, worked by hand."""

import numpy as np
import pytest

from boxwise_perf.generator import Outcome
from boxwise_perf.load import Closed, LoadError, Open, Samples
from boxwise_perf.trial import Plan, summarize

PLAN = Plan(warm_up_s=1, seconds=10)


def requests(
    rate: float, latency: float, errors: dict[int, str] | None = None, boxes: int = 5
) -> Outcome:
    scheduled = np.arange(0, 11, 1 / rate)
    said = tuple((errors or {}).get(number, "") for number in range(len(scheduled)))
    counts = np.array([0 if error else boxes for error in said], np.int64)
    messages = dict.fromkeys((errors or {}).values(), "queue full")
    return Outcome(
        Samples(scheduled, scheduled + 0.0005, scheduled + latency, counts, said, messages), 0.1
    )


def test_figures_are_without_the_warm_up() -> None:
    found = summarize(requests(100, 0.02), Open(100, "fixed"), PLAN)
    assert found.requests == 1000
    assert found.images_per_s.value == pytest.approx(100, abs=0.5)
    assert found.boxes_per_s.value == pytest.approx(500, abs=2.5)
    assert found.boxes_per_image.mean == 5
    assert {name: value and round(value.value, 6) for name, value in found.latency_ms.items()} == {
        "p50": 20,
        "p90": 20,
        "p99": 20,
        "p99.9": 20,
    }
    assert found.send_lag_ms is not None
    assert found.send_lag_ms.max == pytest.approx(0.5)
    assert found.steady.steady
    assert found.void is None
    assert found.samples is not None
    assert len(found.samples.done) == 1100


@pytest.mark.parametrize(
    ("latency", "errors", "kept_up", "late", "held"),
    [(0.02, {}, 3, 0.0, 3), (0.04, {}, 3, 1.0, 0), (0.02, {500: "Overloaded"}, 0, 0.0, 0)],
)
def test_streams(
    latency: float, errors: dict[int, str], kept_up: int, late: float, held: int
) -> None:
    streams = summarize(requests(95, latency, errors), Open(95), PLAN).streams
    assert (streams.kept_up, streams.late_share, streams.held) == (kept_up, late, held)


def test_failures_by_cause_and_those_of_the_warm_up_not() -> None:
    found = summarize(
        requests(100, 0.02, {50: "Unavailable", 500: "Overloaded", 501: "Overloaded"}),
        Closed(2),
        PLAN,
    )
    assert found.failed == {"Overloaded": 2}
    assert found.messages == {"Overloaded": "queue full"}
    assert found.send_lag_ms is None


def test_nothing_after_the_warm_up() -> None:
    with pytest.raises(LoadError, match="after the warm-up: make --duration longer"):
        summarize(requests(100, 0.02), Closed(1), Plan(warm_up_s=20, seconds=1))
