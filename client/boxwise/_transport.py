"""What both transports share: a call, how connections are made, and what is said when one fails."""

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
    """One call on its way: the headers of its method, those of this call alone, and its framed
    message.
    """

    block: bytes
    extra: bytes
    body: Sequence[Buffer]

    def headers(self, left_s: float) -> bytes:
        """The block of headers, with the time that is left for the call."""
        return self.block + timeout_header(left_s) + self.extra


@dataclass(frozen=True, slots=True)
class Wire:
    """How connections are made.

    Attributes:
        tls: None for plain TCP.
        server_name: what the certificate must be for; None for the host that was asked for.
        connections: to one server, at most.
        connect_timeout_s: until a server counts as gone.
        keepalive_s: of silence, before TCP asks whether the server is still there.
    """

    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    connections: int = 64
    connect_timeout_s: float = 1.0
    keepalive_s: float = 10.0

    def tune(self, sock: socket.socket) -> None:
        """Send at once, and notice a server whose machine is gone; the kernel asks, so that no
        server objects.

        (Triton ends connections on which HTTP/2's own pings come more often than every five
        minutes.)
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
        """GRPC needs HTTP/2, which TLS negotiates.

        Raises:
            ssl.SSLError: the server speaks something else on this port.
        """
        if negotiated not in ("h2", None):
            raise ssl.SSLError(f"the server speaks {negotiated} on this port, not HTTP/2")


def lost(endpoint: Endpoint, error: Exception, *, sent: bool) -> Status:
    """The status of a call whose connection failed, or was not made.

    Args:
        endpoint: who was asked.
        error: what the connection said.
        sent: the server may have heard the whole call.
    """
    return Status("UNAVAILABLE", f"{endpoint}: {_reason(error)}", local=True, processed=sent)


def going_away() -> Status:
    """The server ends a connection on which the call has not begun."""
    return Status("UNAVAILABLE", "the server ends this connection", processed=False)


def timed_out(details: str) -> Status:
    """The deadline came first."""
    return Status("DEADLINE_EXCEEDED", details, local=True)


def cancelled() -> Status:
    """The caller does not want the answer any more, or has closed the client."""
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
