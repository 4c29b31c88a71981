"""One real Triton with the dots pipeline, and fronts before it: deploy/envoy/envoy.yaml in a real
Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from contract_support.either import CLIENTS
from contract_support.servers import write_repository
from front_support.front import ENVOY, PIPELINE, Front, Keys, running
from front_support.server import Server, serving


def pytest_configure(config: pytest.Config) -> None:
    if not ENVOY.exists():
        raise pytest.UsageError("the Envoy of these tests is not there: make test-front")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("served"), PIPELINE, layout="fused")


@pytest.fixture(scope="session")
def triton(repository: Path) -> Iterator[Server]:
    """The server of all tests that do not say otherwise."""
    with serving(repository) as server:
        yield server


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def front(triton: Server, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The file as it is."""
    with running(keys, triton.port, tmp_path_factory.mktemp("front")) as started:
        yield started


@pytest.fixture
def front_with(triton: Server, keys: Keys, tmp_path: Path) -> Iterator[Callable[..., Front]]:
    """Fronts of a test's own: other numbers, by their text in the file."""
    with ExitStack() as stack:
        yield lambda changes: stack.enter_context(running(keys, triton.port, tmp_path, changes))


@pytest.fixture(params=sorted(CLIENTS))
def kind(request: pytest.FixtureRequest) -> object:
    """Each of the SDK's clients in turn."""
    return CLIENTS[request.param]
