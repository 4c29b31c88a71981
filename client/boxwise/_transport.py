"""What both transports share: calls, settings of connections, and the status of their failures."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from boxwise._endpoint import Endpoint
from boxwise._errors import CANCELLED_HERE
from boxwise._grpc import Status, timeout_header
from boxwise._http2 import Buffer


@dataclass(slots=True)
class Call:
    """One call: the headers of its method, its own headers, and its framed message."""

    block: bytes
    extra: bytes
    body: Sequence[Buffer]

    def headers(self, left_s: float) -> bytes:
        """Return the encoded headers, with the time left until the deadline."""
        return self.block + timeout_header(left_s) + self.extra


@dataclass(frozen=True, slots=True)
class Wire:
    """Settings of connections.

    Attributes:
        tls: None for plain TCP.
        server_name: name in the server's certificate; None for its host.
        connections: maximum number per server.
        connect_timeout_s: limit for opening a connection.
        keepalive_s: seconds of silence before TCP probes the server.
    """

    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    connections: int = 64
    connect_timeout_s: float = 1.0
    keepalive_s: float = 10.0

    def tune(self, sock: socket.socket) -> None:
        """Disable Nagle's algorithm, and detect a dead machine by TCP keepalive.

        Triton closes connections with HTTP/2 pings more often than every five minutes.
        """
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        seconds = max(1, round(self.keepalive_s))
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000 * seconds)

    def check_protocol(self, negotiated: str | None) -> None:
        """Check that TLS negotiated HTTP/2, which gRPC needs.

        Raises:
            ssl.SSLError: the server uses another protocol on this port.
        """
        if negotiated not in ("h2", None):
            raise ssl.SSLError(f"the server speaks {negotiated} on this port, not HTTP/2")


def lost(endpoint: Endpoint, error: Exception, *, sent: bool) -> Status:
    """Return the status of a call whose connection failed or could not be opened.

    Args:
        endpoint: the server.
        error: of the connection.
        sent: whether the server may have received the whole call.
    """
    return Status("UNAVAILABLE", f"{endpoint}: {_reason(error)}", local=True, processed=sent)


def going_away() -> Status:
    """Return the status of a call that did not start before the server closed the connection."""
    return Status("UNAVAILABLE", "the server ends this connection", processed=False)


def timed_out(details: str) -> Status:
    """Return the status of a call whose deadline was exceeded."""
    return Status("DEADLINE_EXCEEDED", details, local=True)


def cancelled() -> Status:
    """Return the status of a call that was cancelled, or whose client was closed."""
    return Status("CANCELLED", CANCELLED_HERE, local=True)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, socket.gaierror):
        return f"the name is not known ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower() if error.errno > 0 else str(error)
    return str(error)
