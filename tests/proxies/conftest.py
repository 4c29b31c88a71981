"""One small grpcio server, for all that stands before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from proxies_support.proxies import PROGRAMS, Proxy, running


def pytest_configure(config: pytest.Config) -> None:
    missing = [name for name, path in PROGRAMS.items() if not path.exists()]
    if missing:
        raise pytest.UsageError(f"not there: {', '.join(missing)}; run make test-proxies")


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The server behind all proxies, without a limit."""
    with running("grpcio", 0, 0, tmp_path_factory.mktemp("backend")) as server:
        yield server
