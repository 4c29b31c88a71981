"""The addresses that people write."""

from __future__ import annotations

import pytest

from boxwise import InvalidArgument
from boxwise._endpoint import Endpoint, parse, resolve


@pytest.mark.parametrize(
    ("target", "endpoint", "authority", "local"),
    [
        ("localhost:9", Endpoint("localhost", 9), "localhost:9", True),
        ("localhost", Endpoint("localhost", 8001), "localhost:8001", True),
        ("10.0.0.7:9", Endpoint("10.0.0.7", 9), "10.0.0.7:9", False),
        ("127.0.0.2:9", Endpoint("127.0.0.2", 9), "127.0.0.2:9", True),
        ("[::1]:9", Endpoint("::1", 9), "[::1]:9", True),
        ("[fe80::1]", Endpoint("fe80::1", 8001), "[fe80::1]:8001", False),
        ("::1", Endpoint("::1", 8001), "[::1]:8001", True),
        (
            "dns:///boxwise-headless:9",
            Endpoint("boxwise-headless", 9, many=True),
            "boxwise-headless:9",
            False,
        ),
        ("unix:/run/triton", Endpoint(path="/run/triton"), "localhost", True),
        ("unix:///run/triton", Endpoint(path="/run/triton"), "localhost", True),
        ("unix:triton.sock", Endpoint(path="triton.sock"), "localhost", True),
    ],
)
def test_a_target_is_read(target: str, endpoint: Endpoint, authority: str, local: bool) -> None:
    (found,) = parse(target)
    assert (found, found.authority, found.local) == (endpoint, authority, local)


@pytest.mark.parametrize(
    "target",
    [
        "",
        ":",
        ":9",
        "host:",
        "host:x",
        "host:0",
        "host:65536",
        "host:²",
        "http://host:9",
        "dns:host:9",
        "unix:",
    ],
)
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(
        InvalidArgument, match="expected HOST:PORT of the gRPC port, such as localhost:8001"
    ):
        parse(target)


def test_several_targets_keep_their_order() -> None:
    assert [str(each) for each in parse(["b:1", "a:2"])] == ["b:1", "a:2"]


def test_a_name_becomes_the_servers_behind_it() -> None:
    assert Endpoint("127.0.0.1", 9) in resolve(Endpoint("localhost", 9, many=True))
    with pytest.raises(OSError, match=r"known|resol|name"):
        resolve(Endpoint("no-such-host.invalid", 9, many=True))
