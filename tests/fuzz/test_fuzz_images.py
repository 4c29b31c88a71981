"""Images that are none: each is refused with INVALID_ARGUMENT and a sentence that names the image,
or seen whole.
"""

from __future__ import annotations

import random
from pathlib import Path

import grpc
import pytest
from contract_support.attacked import PIPELINES, Attacked
from contract_support.fuzzing import assert_a_reply_of_the_contract, call, fuzz, image_request
from contract_support.mutations import mutated, seeds
from contract_support.trials import Trial

SEEDS = seeds()


@pytest.mark.timeout(0)
def test_images_with_anything_changed_in_them(
    trial: Trial, target: Attacked, tmp_path: Path
) -> None:
    def make(rng: random.Random) -> tuple[bytes, object]:
        return mutated(rng, SEEDS), rng.choice(PIPELINES)

    def send(channel: grpc.Channel, file: bytes, about: object) -> str:
        reply = call(channel, image_request(str(about), file).SerializeToString())
        if reply.status == "OK":
            assert_a_reply_of_the_contract(reply.answer())
            return "seen"
        assert reply.status == "INVALID_ARGUMENT", reply
        assert reply.sentence.removeprefix(f"in ensemble '{about}', ").startswith("image: "), reply
        return "refused"

    run = fuzz(trial, target, tmp_path, trial.of(short=10_000, long=500_000), make, send)
    assert min(run.statuses["seen"], run.statuses["refused"]) > run.done // 20, run.statuses


def test_every_seed_is_an_image(target: Attacked) -> None:
    for pipeline in PIPELINES:
        with grpc.insecure_channel(target.triton.grpc_url) as channel:
            for file in SEEDS:
                assert_a_reply_of_the_contract(
                    call(channel, image_request(pipeline, file).SerializeToString()).answer()
                )
