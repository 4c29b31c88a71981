"""What a proxy says itself, which is no gRPC response."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contract_support.either import CLIENTS
from proxies_support.proxies import Proxy, running

from boxwise import ServerError, Unavailable
from boxwise_runtime.launcher import free_ports


@pytest.fixture(params=sorted(CLIENTS))
def connect(request: pytest.FixtureRequest) -> Any:
    return CLIENTS[request.param]


def test_an_image_above_nginx_s_limit_is_an_error_with_its_page(
    connect: Any, backend: Proxy, tmp_path: Path
) -> None:
    with (
        running("nginx", 16, backend.port, tmp_path) as proxy,
        connect(proxy.url, timeout_s=20) as client,
    ):
        assert len(client.predict(bytes(1000))) > 0
        with pytest.raises(ServerError, match="HTTP status 413: 413 Request Entity Too Large"):
            client.predict(bytes(65 << 20))
        assert len(client.predict(bytes(1000))) > 0


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nginx", "HTTP status 502: 502 Bad Gateway"),
        ("haproxy", "HTTP status 503: 503 Service Unavailable"),
        ("envoy", "upstream connect error"),
    ],
)
def test_a_proxy_without_its_server_is_unavailable(
    connect: Any, kind: str, said: str, tmp_path: Path
) -> None:
    with (
        running(kind, 16, free_ports(1)[0], tmp_path) as proxy,
        connect(proxy.url, retry=None, timeout_s=10) as client,
        pytest.raises(Unavailable, match=said),
    ):
        client.predict(bytes(1000))
