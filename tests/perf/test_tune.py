"""The search climbs to the best arrangement where there is a way up, and keeps what is served where
there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from boxwise_export.repository.serving_config import ServingConfig
from boxwise_perf.load import Samples
from boxwise_perf.stats import Estimate
from boxwise_perf.tune import Objective, Tuning, climb, neighbours_of
from boxwise_runtime.targets import EMBEDDED, TENSORRT, Target

STAGES = ["preprocess", "detector", "nms", "classifier_kind", "assemble"]
START = ServingConfig("ensemble", dict.fromkeys(STAGES, 2) | {"assemble": 1}, threads=1)


def search(
    score: Callable[[ServingConfig], float], first: ServingConfig = START, noise: float = 0.0
) -> Tuning:
    """A climb on a landscape, whose intervals are as wide as the noise."""

    def measure(
        candidate: ServingConfig, best: ServingConfig, last_word: bool
    ) -> tuple[float, Estimate]:
        ratio = score(candidate) / score(best)
        return score(candidate), Estimate(ratio, ratio - noise, ratio + noise)

    return climb(first, neighbours_of(STAGES, 2, EMBEDDED), measure, objective="the most")


def test_a_flat_landscape_changes_nothing() -> None:
    found = search(lambda _: 100.0)
    assert found.best == found.first == START
    assert found.complete
    assert not any(each.taken for each in found.tried)
    assert (found.gain.value, found.gain.low) == (1.0, 1.0)


def test_differences_within_the_noise_change_nothing() -> None:
    found = search(lambda now: 100.0 + now.instances.get("detector", 0), noise=0.05)
    assert found.best == START


def test_settings_are_found_together() -> None:
    """The best is two steps away: another layout first,
    and then another number of its processes.
    """
    landscape = {"ensemble": 100.0, "bls": 90.0, "fused": 150.0}
    found = search(lambda now: landscape[now.layout] + 10 * now.instances.get("fused", 0))
    assert (found.best.layout, dict(found.best.instances)) == ("fused", {"fused": 4})
    assert [each.change for each in found.tried if each.taken] == [
        "layout fused",
        "fused: 3 instances",
        "fused: 4 instances",
    ]
    assert found.gain.value == pytest.approx(190 / 100)


def test_every_stage_s_processes_and_threads_are_tried() -> None:
    changes = {change for change, _ in neighbours_of(STAGES, 2, EMBEDDED)(START)}
    assert {f"{stage}: 3 instances" for stage in STAGES if stage != "assemble"} <= changes
    assert {f"{stage}: 1 instances" for stage in STAGES if stage != "assemble"} <= changes
    assert {"assemble: 2 instances", "layout fused", "layout bls", "2 threads"} <= changes


def test_another_layout_begins_as_an_export_would() -> None:
    found = dict(neighbours_of(STAGES, 4, EMBEDDED)(START))
    assert found["layout bls"].instances == {"bls": 4, "detector": 4, "classifier_kind": 4}
    back = dict(neighbours_of(STAGES, 4, EMBEDDED)(found["layout fused"]))
    assert back["layout ensemble"].instances == dict.fromkeys(STAGES, 4) | {"assemble": 1}


def test_in_flight_is_tried_from_what_the_target_has() -> None:
    def tried(target: Target, in_flight: int | None) -> set[str]:
        start = ServingConfig("bls", {"bls": 2}, in_flight=in_flight)
        return {
            change for change, _ in neighbours_of(STAGES, 2, target)(start) if "in flight" in change
        }

    assert tried(EMBEDDED, None) == {"4 in flight", "1 in flight"}
    assert tried(TENSORRT, None) == {"8 in flight", "2 in flight"}
    assert tried(TENSORRT, 1) == {"2 in flight"}


def test_targets_that_batch_have_batches_to_try() -> None:
    start = replace(START, queue_delay_us=500, max_batch_size=8)
    changes = {change for change, _ in neighbours_of(STAGES, 2, TENSORRT)(start)}
    assert {
        "queue delay 0 us",
        "queue delay 2000 us",
        "batches of 16 at most",
        "batches of 4 at most",
    } <= changes
    assert not any("layout" in change or "threads" in change for change in changes)


def test_what_wins_by_chance_loses_the_last_word() -> None:
    def measure(
        candidate: ServingConfig, best: ServingConfig, last_word: bool
    ) -> tuple[float, Estimate]:
        lucky = candidate.layout == "fused" and not last_word and best == START
        return 1.0, Estimate(1.2, 1.1, 1.3) if lucky else Estimate(1.0, 0.9, 1.1)

    found = climb(START, neighbours_of(STAGES, 2, EMBEDDED), measure, objective="the most")
    assert found.best == START
    assert found.gain.value == 1.0


def test_no_candidate_is_begun_after_the_budget() -> None:
    found = climb(
        START,
        neighbours_of(STAGES, 2, EMBEDDED),
        lambda *_: pytest.fail("measured"),
        objective="the most",
        until=time.monotonic(),
    )
    assert not found.complete
    assert found.tried == ()


def samples(latency_s: float, answered: int, failed: int = 0) -> Samples:
    count = answered + failed
    done = np.linspace(0.1, 0.9, count)
    errors = ("",) * answered + ("Overloaded",) * failed
    return Samples(done - latency_s, done - latency_s, done, np.ones(count, np.int64), errors, {})


def test_throughput_is_that_of_the_best_load() -> None:
    objective = Objective("throughput", None, (4, 8))
    assert objective.score({4: samples(0.01, 100), 8: samples(0.02, 120)}, seconds=1) == 120
    assert (
        objective.score({4: samples(0.01, 100), 8: samples(0.02, 90, failed=30)}, seconds=1) == 100
    )


def test_a_load_beyond_the_p99_counts_less_the_further_it_is() -> None:
    objective = Objective("throughput", 10.0, (4, 8))
    assert objective.score(
        {4: samples(0.010, 100), 8: samples(0.020, 160)}, seconds=1
    ) == pytest.approx(100)
    near, far = (objective.score({4: samples(late, 100)}, seconds=1) for late in (0.020, 0.040))
    assert near == pytest.approx(25)
    assert far < near


def test_latency_is_the_median_turned_over() -> None:
    assert Objective("latency", None, (1,)).score(
        {1: samples(0.02, 9)}, seconds=1
    ) == pytest.approx(50)
