"""Connections that end while they are used: by a GOAWAY, which costs no call, and without one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from proxies_support.bursts import CALLS, Asyncio, Grpcio, Threads
from proxies_support.proxies import COMMANDS, RELOADS, Proxy, running

OURS = {"threads": Threads, "asyncio": Asyncio}


def meanwhile(action: Callable[[], None], times: int = 1) -> list[threading.Timer]:
    """Act once and again while calls are in flight."""
    timers = [threading.Timer(0.05 + 0.3 * number, action) for number in range(times)]
    for each in timers:
        each.start()
    return timers


@pytest.fixture(params=OURS)
def client(request: pytest.FixtureRequest) -> Any:
    return OURS[request.param]


@pytest.mark.parametrize("limit", [1, 32])
# Whose 2.6 ends no connection by its calls.
@pytest.mark.parametrize("kind", sorted(COMMANDS.keys() - {"haproxy"}))
def test_connections_that_end_after_50_calls_lose_none(
    kind: str, limit: int, backend: Proxy, tmp_path: Path, figures: list[str]
) -> None:
    with running(kind, limit, backend.port, tmp_path, calls=50) as proxy:
        for client in (Threads, Asyncio, Grpcio):
            with closing(client(proxy.url)) as bursts:
                lost = [each for _ in range(3) for each in bursts.burst()]
                if client is not Grpcio:
                    assert lost == []
                    assert bursts.complaints == []
                elif lost:
                    figures.append(
                        f"{kind}, {limit} streams, 50 calls: grpcio lost {len(lost)} of {3 * CALLS}"
                    )


@pytest.mark.parametrize("kind", RELOADS)
def test_a_reload_under_load_loses_no_call(
    kind: str, client: Any, backend: Proxy, tmp_path: Path
) -> None:
    with running(kind, 16, backend.port, tmp_path) as proxy, closing(client(proxy.url)) as bursts:
        reloads = meanwhile(proxy.reload, times=3)
        while any(each.is_alive() for each in reloads):
            assert bursts.burst() == []
        assert bursts.burst() == []
        assert bursts.complaints == []


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_restart_under_load_loses_only_what_no_server_took(
    kind: str, client: Any, backend: Proxy, tmp_path: Path
) -> None:
    with running(kind, 16, backend.port, tmp_path) as proxy, closing(client(proxy.url)) as bursts:
        assert bursts.burst() == []
        (restart,) = meanwhile(proxy.restart)
        lost = []
        while restart.is_alive():
            lost += bursts.burst()
        assert [
            each for each in lost if f"the server at {proxy.url} is not available" not in each
        ] == []
        assert bursts.burst() == []
        assert bursts.complaints == []
