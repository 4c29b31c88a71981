"""LitServe and BentoML, as processes of .venv-peers, find what we find and leave nothing running;
`make test-peers`.
"""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from contract_support.peers import PeerCase

from boxwise_benchmarks.baselines import frameworks
from boxwise_benchmarks.baselines.agreement import disagreement
from boxwise_benchmarks.baselines.base import Detections
from boxwise_benchmarks.baselines.frameworks import FRAMEWORKS, Framework, FrameworkError
from boxwise_benchmarks.baselines.in_process import InProcess
from boxwise_perf.null import OBJECTS


@pytest.fixture(scope="module")
def ours(case: PeerCase, images: list[bytes]) -> list[Detections]:
    """By the bare loop, which test_baselines.py holds to the served pipeline."""
    with InProcess(case.recipe, workers=1) as loop:
        return [loop.call(image) for image in images]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_it_finds_what_ours_finds(
    framework: type[Framework], case: PeerCase, ours: list[Detections], images: list[bytes]
) -> None:
    before = set(psutil.Process().children(recursive=True))
    with framework(case.recipe) as peer:
        for found, image in zip(ours, images, strict=True):
            assert disagreement(found, peer.call(image)) is None
        if case.name == "null":
            assert all(len(found.boxes) == OBJECTS for found in ours)
        assert len(peer.run(images, 4, 0.5).latencies) > 0
        started = set(psutil.Process().children(recursive=True)) - before
    assert len(started) > case.recipe.instances  # the server and its workers
    assert not [process for process in started if process.is_running()]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_is_no_image_is_an_error(
    framework: type[Framework], cases: dict[str, PeerCase], images: list[bytes]
) -> None:
    with framework(cases["null"].recipe) as peer:
        with pytest.raises(FrameworkError, match=f"{peer.name}: expected 200, got 500"):
            peer.call(b"no image")
        assert len(peer.call(images[0]).boxes) == OBJECTS


def test_a_server_that_ends_says_why(
    cases: dict[str, PeerCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frameworks.LitServe, "module", "boxwise_benchmarks.baselines.no_such_app")
    with pytest.raises(FrameworkError, match=r"litserve ended with exit code 1; .*\n.*no_such_app"):
        frameworks.LitServe(cases["null"].recipe).__enter__()


def test_versions_are_of_its_own_environment() -> None:
    assert {"bentoml", "litserve", "onnxruntime"} <= frameworks.versions().keys()


def test_a_missing_environment_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(
        FrameworkError, match=r"nothing is missing; create it with `make \.venv-peers/\.dev`"
    ):
        frameworks.installed(tmp_path / "nothing")
