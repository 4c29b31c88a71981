"""One server for all fuzzers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract_support.attacked import Attacked, attacked, export_dots


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(export_dots(tmp_path_factory.mktemp("fuzzed"), max_megapixels=2)) as server:
        yield server
