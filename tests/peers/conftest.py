"""The demo, real and with null models, and the images that all peers are asked about."""

from __future__ import annotations

import pytest
from contract_support.peers import PeerCase, demo_cases, jpegs


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PeerCase]:
    return demo_cases(tmp_path_factory.mktemp("peers"))


@pytest.fixture(scope="session", params=["real", "null"])
def case(request: pytest.FixtureRequest, cases: dict[str, PeerCase]) -> PeerCase:
    return cases[request.param]


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    return jpegs()
