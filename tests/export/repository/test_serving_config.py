"""The serving settings: what a file leaves open, and what stays when another layout is chosen."""

from __future__ import annotations

import pytest

from boxwise_export.repository.serving_config import Layout, ServingConfig, default_instances

STAGES = ["preprocess", "detector", "nms", "classifier_kind", "assemble"]


def settled(serving: ServingConfig, stages: list[str] = STAGES) -> ServingConfig:
    return serving.settled(stages, instances=4, threads=1, max_batch_size=8)


def test_every_number_is_settled() -> None:
    assert settled(ServingConfig()) == ServingConfig(
        instances=dict.fromkeys(STAGES, 4) | {"assemble": 1},
        threads=1,
        queue_delay_us=500,
        max_batch_size=8,
        max_queue=64,
        max_wait_ms=10_000,
    )


def test_zero_is_a_number() -> None:
    serving = settled(ServingConfig(queue_delay_us=0, max_queue=0))
    assert (serving.queue_delay_us, serving.max_queue) == (0, 0)


@pytest.mark.parametrize(
    ("stages", "light"),
    [
        (["preprocess", "detector", "nms"], ["nms"]),
        (STAGES, ["assemble"]),
        (["whole_picture", "classifier_kind", "assemble"], ["assemble"]),
    ],
)
def test_stages_that_only_pass_numbers_on_have_one_process(
    stages: list[str], light: list[str]
) -> None:
    counts = default_instances(stages, 4)
    assert counts == dict.fromkeys(stages, 4) | dict.fromkeys(light, 1)


@pytest.mark.parametrize("layout", ["fused", "bls"])
@pytest.mark.parametrize("first", ["preprocess", "whole_picture"])
def test_a_joined_model_has_a_process_for_each_of_the_stage_that_decodes(
    layout: Layout, first: str
) -> None:
    stages = STAGES if first == "preprocess" else [first, "classifier_kind", "assemble"]
    given = settled(ServingConfig(layout, {first: 3}), stages)
    assert given.served_instances[layout] == 3
    own = settled(ServingConfig(layout, {first: 3, layout: 5}), stages)
    assert own.served_instances[layout] == 5
    other = settled(ServingConfig("ensemble", {first: 3}), stages)
    assert other.followed_by(ServingConfig(layout)).served_instances[layout] == 3


def test_what_a_change_leaves_open_stays() -> None:
    before = settled(ServingConfig("fused", {"fused": 5}, threads=2, max_queue=7))
    assert before.served_instances == {"fused": 5}
    assert before.followed_by(ServingConfig("fused")) == before
    after = before.followed_by(ServingConfig("bls", in_flight=3))
    assert after.served_instances == {"bls": 4, "detector": 4, "classifier_kind": 4}
    assert (after.threads, after.max_queue, after.in_flight) == (2, 7, 3)
    assert after.followed_by(ServingConfig("fused")).in_flight is None
    assert after.followed_by(ServingConfig("fused")).served_instances == {"fused": 4}
