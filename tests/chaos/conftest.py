"""Servers of a pipeline that answers constants, in both layouts:
what is tried here is the serving.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from contract_support.null_pipeline import write_null_repository

from boxwise_export.repository.serving_config import Layout


@pytest.fixture(scope="session", params=["fused", "ensemble"])
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def repository(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline `boxwise`, its models constants."""
    return write_null_repository(tmp_path_factory.mktemp(layout), layout)
