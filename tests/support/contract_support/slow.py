"""Connections of clients that are slow, or gone without a word."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from types import TracebackType

from boxwise._grpc import header_block
from boxwise._protocol import INFER
from contract_support.http2 import frame

_BEAT_S = 1.0  # between two bytes of a slow body
_BODY = 1 << 20  # bytes that a request promises


def _grpc_openings() -> tuple[bytes, ...]:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = frame(4, 0, 0)
    begun = preface + settings + frame(1, 4, 1, header_block(INFER, "localhost", "http"))
    return b"", preface[:12], begun, begun + frame(0, 0, 1, b"\0" + _BODY.to_bytes(4, "big"))


def _http_openings() -> tuple[bytes, ...]:
    begun = (
        "POST /v2/models/boxwise/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        f"{_BODY}\r\n\r\n".encode()
    )
    return b"", begun[:12], begun, begun


class SlowConnections:
    """Connections to both ports: a quarter says nothing, a quarter half a first line, a quarter has
    sent its headers, and a quarter sends its body one byte a second.

    Args:
        grpc: host and port.
        http: the same.
        count: of connections, over both ports.
    """

    def __init__(self, grpc: tuple[str, int], http: tuple[str, int], count: int) -> None:
        self._sockets: list[socket.socket] = []
        self._slow: list[tuple[socket.socket, bytes]] = []
        self._ended = threading.Event()
        for address, opening, beat in islice(_kinds(grpc, http), count):
            connection = socket.create_connection(address, timeout=10)
            connection.sendall(opening)
            self._sockets.append(connection)
            if beat:
                self._slow.append((connection, beat))
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def open(self) -> int:
        """How many the server has not ended."""
        return sum(map(_is_open, self._sockets))

    def _beat(self) -> None:
        while self._slow:
            for connection, beat in self._slow:  # one after the other, as those of strangers come
                if self._ended.wait(_BEAT_S / len(self._slow)):
                    return
                with suppress(OSError):
                    connection.send(beat)

    def __enter__(self) -> SlowConnections:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        for connection in self._sockets:
            connection.close()


def _kinds(
    grpc: tuple[str, int], http: tuple[str, int]
) -> Iterator[tuple[tuple[str, int], bytes, bytes]]:
    """Where to, what is said at once, and what is said each second; over and over."""
    beats = (frame(0, 0, 1, b"\0"), b"\0")
    while True:
        for kind in range(4):
            for address, openings, beat in zip(
                (grpc, http), (_grpc_openings(), _http_openings()), beats, strict=True
            ):
                yield address, openings[kind], beat if kind == 3 else b""


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
