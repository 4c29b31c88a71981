"""Who is slow on purpose, and who never ends: closed or answered in time. The times are shortened,
each by its text.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from contract_support.http2 import SERVICE
from front_support.front import Front, Keys
from front_support.server import IMAGE, Server
from front_support.wire import HEADERS, Wire, message

from boxwise import DeadlineExceeded, Unavailable
from boxwise._grpc import header_block

IDLE = {"idle_timeout: 60s": "idle_timeout: 0.5s", "drain_timeout: 1s": "drain_timeout: 0.1s"}
DEADLINE = {
    "max_stream_duration: 30s": "max_stream_duration: 1s",
    "header_max: 30s": "header_max: 1s",
}
LIVE, INFER = SERVICE + "ServerLive", SERVICE + "ModelInfer"


def test_a_connection_that_says_nothing_is_closed(front_with: Callable[..., Front]) -> None:
    front = front_with(
        {"transport_socket_connect_timeout: 5s": "transport_socket_connect_timeout: 0.5s"}
    )
    with socket.create_connection(("localhost", front.port), timeout=5) as silent:
        assert silent.recv(1) == b""


def test_the_kernel_asks_after_a_peer_that_says_nothing(front: Front) -> None:
    """By TCP keepalive, the timer 02 in /proc/net/tcp
    (Documentation/networking/proc_net_tcp.rst).
    """
    with Wire(front.port, front.ca) as wire:
        wire.flush()
        time.sleep(0.5)  # what was sent is acknowledged
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    established = [row for row in rows if row[1].endswith(f":{front.port:04X}") and row[3] == "01"]
    assert {row[5].partition(":")[0] for row in established} == {"02"}


def test_a_connection_that_never_asks_is_closed(front_with: Callable[..., Front]) -> None:
    front = front_with(IDLE)
    with Wire(front.port, front.ca) as wire:
        wire.flush()
        wire.wait_until_closed(5)


def test_headers_that_never_end_are_cut_off_and_the_connection_with_them(
    front_with: Callable[..., Front],
) -> None:
    front = front_with(IDLE | {"request_headers_timeout: 5s": "request_headers_timeout: 0.5s"})
    with Wire(front.port, front.ca) as wire:
        wire.flush()
        wire.send_frame(HEADERS, 0, 1, header_block(INFER, "localhost", "https")[:20])
        wire.wait_until_closed(5)


def test_a_message_that_never_ends_is_cut_off_and_triton_never_hears_of_it(
    front_with: Callable[..., Front], keys: Keys
) -> None:
    front = front_with({"request_timeout: 20s": "request_timeout: 0.5s"})
    with Wire(front.port, front.ca) as wire:
        stream = wire.open(INFER, message(bytes(100_000)), keys.bearer(), end=False)
        assert wire.answer(stream)["grpc-status"] == "4"
    assert "upstream_rq_total: 0" in _stats(front)


REFUSED = {
    "a method": (SERVICE + "TraceSetting", (), "7"),
    "gzip": (INFER, (("grpc-encoding", "gzip"),), "12"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_by_its_headers_is_not_waited_for(
    name: str, front: Front, keys: Keys
) -> None:
    path, headers, status = REFUSED[name]
    with Wire(front.port, front.ca) as wire:
        stream = wire.open(path, message(bytes(100_000)), keys.bearer(), *headers, end=False)
        assert wire.answer(stream)["grpc-status"] == status


GRPC_TIMEOUTS = {"none": (), "zero": ("0m",), "shorter": ("100m",), "longer": ("1H",)}


@pytest.mark.parametrize("name", GRPC_TIMEOUTS)
def test_a_call_ends_at_the_fronts_deadline_or_at_its_own(
    name: str, front_with: Callable[..., Front], triton: Server, keys: Keys
) -> None:
    front = front_with(DEADLINE)
    headers = [("grpc-timeout", value) for value in GRPC_TIMEOUTS[name]]
    with triton.silent(), Wire(front.port, front.ca) as wire:
        start = time.monotonic()
        reply = wire.call(LIVE, message(b""), keys.bearer(), *headers)
        seconds = time.monotonic() - start
    assert reply["grpc-status"] == "4"
    assert (seconds < 0.9) is (name in ("zero", "shorter"))


def test_the_fronts_deadline_is_the_sdks_error_for_one(
    front_with: Callable[..., Front], triton: Server
) -> None:
    front = front_with(DEADLINE)
    with triton.silent(), front.client() as client, pytest.raises(DeadlineExceeded):
        client.predict(IMAGE)


def test_more_connections_than_allowed_are_not_taken(
    front_with: Callable[..., Front], keys: Keys
) -> None:
    front = front_with({"downstream_connections: 1000": "downstream_connections: 2"})
    with Wire(front.port, front.ca) as one:
        with Wire(front.port, front.ca) as other:
            for wire in (one, other):
                wire.call(LIVE, message(b""), keys.bearer())
            with front.client(timeout_s=1) as client, pytest.raises(Unavailable):
                client.predict(IMAGE)
        with front.client() as client:
            assert len(client.predict(IMAGE)) == 12


def test_messages_that_never_end_do_not_fill_the_heap(
    front_with: Callable[..., Front], keys: Keys
) -> None:
    """16 of nearly 8 MiB, for a front that may have 32 MiB: the largest are ended, and others are
    answered.
    """
    front = front_with({"max_heap_size_bytes: 1073741824": "max_heap_size_bytes: 33554432"})
    held = []
    for number in range(16):
        wire = Wire(front.port, front.ca)
        held.append(wire)
        with contextlib.suppress(ConnectionError):
            wire.open(INFER, message(bytes(7 << 20)), keys.bearer(sub=str(number)), end=False)
    time.sleep(0.5)
    assert "reset_high_memory_stream.count: 0" not in _stats(front)
    for wire in held:
        wire.close()
    time.sleep(0.5)
    with front.client() as client:
        assert len(client.predict(IMAGE)) == 12


def _stats(front: Front) -> str:
    return requests.get(f"{front.admin}/stats", timeout=5).text
