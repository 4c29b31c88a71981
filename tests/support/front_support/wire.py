"""A connection with whatever on it: calls that no gRPC library would make, and bytes that are no
calls.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from contract_support.http2 import frame

from boxwise._grpc import header, header_block
from boxwise._http2 import Http2, Stream

HEADERS = 1


class Wire:
    """One connection, TLS where there is an authority to trust."""

    def __init__(self, port: int, ca: Path | None = None) -> None:
        self._socket = socket.create_connection(("localhost", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = ca is not None
        if ca is not None:
            context = ssl.create_default_context(cafile=str(ca))
            context.set_alpn_protocols(["h2"])
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._http2 = Http2()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def open(self, path: str, body: bytes, *headers: tuple[str, str], end: bool = True) -> Stream:
        """Send a call, all of it that the other side takes now; headers may come twice.

        Without `end` it never ends: the last piece of a body, which has to be of more than 64 KiB,
        stays here.
        """
        scheme = "https" if self._tls else "http"
        block = header_block(path, "localhost", scheme) + b"".join(
            header(*each) for each in headers
        )
        stream = self._http2.open(block, [body])
        if end:
            self.flush()
            return stream
        while True:
            frames = self._http2.output()
            if not stream.unsent or stream not in self._http2.streams:
                return stream
            for buffer in frames:
                self._socket.sendall(buffer)
            self._receive()

    def call(self, path: str, body: bytes, *headers: tuple[str, str]) -> dict[str, str]:
        """Send a call and wait for its end: the headers and trailers of its answer."""
        return self.answer(self.open(path, body, *headers))

    def answer(self, stream: Stream) -> dict[str, str]:
        """Wait for the end of a call."""
        while stream in self._http2.streams:
            self.flush()
            self._receive()
        return stream.headers

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the other side closed the connection")
        self._http2.receive(data)

    def flush(self) -> None:
        """Send what HTTP/2 has to say now."""
        for buffer in self._http2.output():
            self._socket.sendall(buffer)

    def send_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Send a frame by hand."""
        self._socket.sendall(frame(kind, flags, stream, payload))

    def wait_until_closed(self, at_most: float) -> None:
        """Fails when the other side leaves the connection open for longer than so many seconds."""
        start = time.monotonic()
        self._socket.settimeout(at_most)
        try:
            while self._socket.recv(65536):
                self._socket.settimeout(max(0.001, start + at_most - time.monotonic()))
        except (ConnectionError, ssl.SSLEOFError):
            pass
        except TimeoutError as error:
            raise AssertionError(f"still open after {at_most} s") from error


def message(payload: bytes, *, compressed: bool = False) -> bytes:
    """A gRPC message with its prefix, whether or not the flag is true."""
    return struct.pack(">BI", compressed, len(payload)) + payload
