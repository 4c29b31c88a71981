"""200 calls at once: on a new client, on a warm one, and on one whose connections have just been
lost.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from contract_support.either import CLIENTS
from contract_support.servers import write_repository
from contract_support.synthetic import make_dots, png
from front_support.server import serving
from proxies_support.bursts import CALLS, Asyncio, Grpcio, Threads
from proxies_support.proxies import COMMANDS, Proxy, running


@pytest.mark.parametrize("limit", [1, 16, 32, 100])
@pytest.mark.parametrize("kind", COMMANDS)
def test_no_call_of_a_burst_is_lost(
    kind: str, limit: int, backend: Proxy, tmp_path: Path, figures: list[str]
) -> None:
    with running(kind, limit, backend.port, tmp_path) as proxy, ExitStack() as stack:
        ours = [stack.enter_context(closing(client(proxy.url))) for client in (Threads, Asyncio)]
        oracle = stack.enter_context(closing(Grpcio(proxy.url)))
        for state in ("fresh", "warm", "reconnecting"):
            if state == "reconnecting":
                proxy.restart()
            lost, lost_by_grpcio = [client.burst() for client in ours], len(oracle.burst())
            if lost_by_grpcio:
                figures.append(
                    f"{kind}, {limit} streams, {state}: grpcio lost {lost_by_grpcio} of {CALLS}"
                )
            assert lost == [[], []], f"{state}; grpcio lost {lost_by_grpcio}"
        assert [client.complaints for client in ours] == [[], []]


@pytest.mark.parametrize("kind", sorted(CLIENTS))
def test_no_call_of_a_burst_to_triton_is_lost(kind: str, tmp_path: Path) -> None:
    image = png(make_dots(12).draw())
    repository = write_repository(tmp_path / "served", "dots", layout="fused")
    with (
        serving(repository) as triton,
        running("nginx", 16, triton.port, tmp_path) as proxy,
        CLIENTS[kind](proxy.url, pipeline="dots", connections=4, timeout_s=60) as client,
    ):
        outcomes: list[Any] = list(client.predict_many([image] * 200, concurrency=200))
        assert [str(each.error) for each in outcomes if each.error] == []
        assert {len(each.unwrap()) for each in outcomes} == {12}
