"""Peers answer the same question: each finds what our served pipeline finds, in photos and with
null models.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from contract_support.peers import PeerCase

from boxwise_benchmarks.baselines.agreement import disagreement
from boxwise_benchmarks.baselines.base import Detections, Peer
from boxwise_benchmarks.baselines.in_process import InProcess
from boxwise_benchmarks.baselines.per_crop import PerCrop
from boxwise_benchmarks.baselines.served import Served
from boxwise_benchmarks.baselines.tutorial import Tutorial
from boxwise_benchmarks.baselines.two_calls import TwoCalls
from boxwise_perf.null import OBJECTS

PEERS: dict[str, Callable[[PeerCase], Peer]] = {
    "in_process": lambda case: InProcess(case.recipe),
    "two_calls": lambda case: TwoCalls(case.repository, case.recipe),
    "per_crop": lambda case: PerCrop(case.repository, case.recipe),
    "tutorial": lambda case: Tutorial(case.raw),
}


@pytest.fixture(scope="module")
def ours(case: PeerCase, images: list[bytes]) -> list[Detections]:
    with Served(case.repository, case.recipe) as served:
        return [served.call(image) for image in images]


def test_ours_finds_something(case: PeerCase, ours: list[Detections]) -> None:
    counts = [len(found.boxes) for found in ours]
    assert set(counts) == {OBJECTS} if case.name == "null" else sum(counts) > 3
    assert any((found.label_ids >= 0).any() for found in ours)


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_finds_what_ours_finds(
    name: str, case: PeerCase, ours: list[Detections], images: list[bytes]
) -> None:
    with PEERS[name](case) as peer:
        for found, image in zip(ours, images, strict=True):
            assert disagreement(found, peer.call(image)) is None
        run = peer.run(images, 2, 0.2)
    assert len(run.latencies) > 0
