"""Peers answer the same question: each finds what our served pipeline finds, in photos and with null models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from contract_support.peers import PeerCase, demo_cases, jpegs

from boxwise_perf.baselines.agreement import disagreement
from boxwise_perf.baselines.base import Found, Peer
from boxwise_perf.baselines.in_process import InProcess
from boxwise_perf.baselines.per_crop import PerCrop
from boxwise_perf.baselines.served import Served
from boxwise_perf.baselines.tutorial import Tutorial
from boxwise_perf.baselines.tutorial_models.shared import as_network_input
from boxwise_perf.baselines.two_calls import TwoCalls
from boxwise_perf.null import OBJECTS

PEERS: dict[str, Callable[[PeerCase], Peer]] = {
    "in_process": lambda case: InProcess(case.recipe),
    "two_calls": lambda case: TwoCalls(case.repository, case.recipe),
    "per_crop": lambda case: PerCrop(case.repository, case.recipe),
    "tutorial": lambda case: Tutorial(case.raw),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PeerCase]:
    return demo_cases(tmp_path_factory.mktemp("peers"))


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return jpegs()


@pytest.fixture(scope="module", params=["real", "null"])
def case(request: pytest.FixtureRequest, cases: dict[str, PeerCase]) -> PeerCase:
    return cases[request.param]


@pytest.fixture(scope="module")
def ours(case: PeerCase, pictures: list[bytes]) -> list[Found]:
    with Served(case.repository, case.recipe) as served:
        return [served.call(picture) for picture in pictures]


def test_ours_finds_something(case: PeerCase, ours: list[Found]) -> None:
    counts = [len(found.boxes) for found in ours]
    assert set(counts) == {OBJECTS} if case.name == "null" else sum(counts) > 3
    assert any((found.label_ids >= 0).any() for found in ours)


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_finds_what_ours_finds(name: str, case: PeerCase, ours: list[Found], pictures: list[bytes]) -> None:
    with PEERS[name](case) as peer:
        for found, picture in zip(ours, pictures, strict=True):
            assert disagreement(found, peer.call(picture)) is None
        run = peer.run(pictures, 2, 0.2)
    assert len(run.latencies) > 0


def found(box: list[float], class_id: int = 2, label: int = 7, score: float = 0.8) -> Found:
    return Found(
        np.array([box], np.float32),
        np.array([score], np.float32),
        np.array([class_id], np.int32),
        np.array([[label, 1]], np.int32),
        np.array([[0.5, 0.2]], np.float32),
    )


NOTHING = Found(*(np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0,), (0, 2), (0, 2))))
BOX = [10.0, 20.0, 110.0, 220.0]


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (NOTHING, "0 boxes, where ours has 1"),
        (found([10.0, 20.0, 112.0, 220.0]), "no box like our"),
        (found(BOX, class_id=3), "of class 2"),
        (found(BOX, label=8), "is labelled 8, ours 7"),
        (found(BOX, score=0.7), "scores 0.7000, ours 0.8000"),
    ],
)
def test_what_differs_is_said(theirs: Found, sentence: str) -> None:
    assert sentence in (disagreement(found(BOX), theirs) or "")


@pytest.mark.parametrize("both", [(NOTHING, NOTHING), (found(BOX), found([10.5, 20.0, 110.0, 219.5]))])
def test_what_is_the_same_is_not(both: tuple[Found, Found]) -> None:
    assert disagreement(*both) is None


@pytest.mark.parametrize("one", [NOTHING, found([0.1, 1 / 3, 5, 7])])
def test_what_is_found_survives_json(one: Found) -> None:
    again = Found.from_json(one.to_json(), top_k=2)
    for name, column in vars(one).items():
        np.testing.assert_array_equal(getattr(again, name), column)
        assert getattr(again, name).shape == column.shape


def test_pixels_become_the_input_of_a_network() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    values = as_network_input(pixels, [1, 1, 1], [2, 2, 2], "NCHW")
    np.testing.assert_allclose(values, (pixels.transpose(0, 3, 1, 2) - 1.0) / 2)
    np.testing.assert_array_equal(as_network_input(pixels, [0, 0, 0], [1, 1, 1], "NHWC"), pixels)
