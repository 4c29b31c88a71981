"""What the tests of the chart share."""

from __future__ import annotations

import pytest
from helm_support.chart import CASES, TOOLS, Manifest, render


def pytest_configure(config: pytest.Config) -> None:
    if not (TOOLS / "helm4").exists():
        raise pytest.UsageError("the tools of these tests are not there: make test-helm")


@pytest.fixture(params=CASES)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """What each of the cases renders, in turn."""
    return render(CASES[request.param])
