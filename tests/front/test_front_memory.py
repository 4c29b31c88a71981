"""Messages that would take the server's memory, each sent to a server and a front that are both
new.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract_support.memory import Peak
from front_support.front import Front, Keys, running
from front_support.server import Server, serving
from front_support.wire import Wire, message

from boxwise._protocol import INFER
from boxwise_perf.memory import MIB

SIZE = 256 << 20
LIMIT_MIB = 10
GZIP, DEFLATE = 31, 15  # zlib's window bits
UNKNOWN_MODEL, UNIMPLEMENTED, INVALID, TRITON_CANNOT_READ_IT = "5", "12", "3", "13"

# What is sent, the headers that it comes with, and the gRPC status that refuses it.
HEAVY: dict[str, tuple[str, tuple[tuple[str, str], ...], str]] = {
    "nothing": ("nothing", (), UNKNOWN_MODEL),
    "gzip": ("gzip", (("grpc-encoding", "gzip"),), UNIMPLEMENTED),
    "deflate": ("deflate", (("grpc-encoding", "deflate"),), UNIMPLEMENTED),
    "gzip in a list": ("gzip", (("grpc-encoding", "identity,gzip"),), UNIMPLEMENTED),
    "gzip after identity": (
        "gzip",
        (("grpc-encoding", "identity"), ("grpc-encoding", "gzip")),
        TRITON_CANNOT_READ_IT,
    ),
    "gzip that is only flagged": ("gzip", (), TRITON_CANNOT_READ_IT),
    "gzip of the whole body": ("gzip body", (("content-encoding", "gzip"),), TRITON_CANNOT_READ_IT),
    "not compressed": ("not compressed", (), INVALID),
}


def squeeze(window_bits: int, prefix: bytes = b"") -> bytes:
    """SIZE zeros after `prefix`."""
    packer = zlib.compressobj(9, wbits=window_bits)
    return packer.compress(prefix + bytes(SIZE)) + packer.flush()


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    """Of calls: each holds, or becomes, SIZE zeros."""
    return {
        "nothing": message(b""),
        "gzip": message(squeeze(GZIP), compressed=True),
        "deflate": message(squeeze(DEFLATE), compressed=True),
        "gzip body": squeeze(GZIP, prefix=b"\0" + SIZE.to_bytes(4)),
        "not compressed": message(bytes(SIZE)),
    }


@pytest.fixture
def new(repository: Path, keys: Keys, tmp_path: Path) -> Iterator[tuple[Server, Front]]:
    """What an earlier test has freed would hide what a message takes."""
    with serving(repository) as server, running(keys, server.port, tmp_path) as front:
        yield server, front


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_message_is_refused_and_takes_no_memory(
    name: str, bodies: dict[str, bytes], new: tuple[Server, Front], keys: Keys, figures: list[str]
) -> None:
    server, front = new
    body, headers, status = HEAVY[name]
    peak = Peak(server.pid, front.pid)
    with Wire(front.port, front.ca) as wire:
        start = time.perf_counter()
        reply = wire.call(INFER, bodies[body], keys.bearer(), *headers)
        milliseconds = (time.perf_counter() - start) * 1000
    grown = [more / MIB for more in peak.more()]
    figures.append(
        f"{name}: refused in {milliseconds:.1f} ms; Triton {grown[0]:+.1f} MiB, Envoy "
        f"{grown[1]:+.1f} MiB"
    )
    assert reply["grpc-status"] == status, reply
    assert max(grown) < LIMIT_MIB


@pytest.mark.parametrize("name", ["gzip", "gzip after identity", "not compressed"])
def test_without_the_front_it_is_the_servers_memory(
    name: str, bodies: dict[str, bytes], new: tuple[Server, Front], figures: list[str]
) -> None:
    """So the test above would see it."""
    server, _ = new
    body, headers, _ = HEAVY[name]
    peak = Peak(server.pid)
    with Wire(server.port) as wire:
        wire.call(INFER, bodies[body], *headers)
    grown = [more / MIB for more in peak.more()]
    figures.append(
        f"{name}, {len(bodies[body]):,} bytes, without the front: Triton {grown[0]:+.1f} MiB"
    )
    assert grown[0] > 0.9 * SIZE / MIB
