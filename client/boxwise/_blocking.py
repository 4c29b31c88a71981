"""Connections of threads: one call at a time on each, and a pool of connections per server."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from boxwise._endpoint import Endpoint
from boxwise._grpc import Status, reply
from boxwise._http2 import Buffer, Http2, ProtocolError, Stream
from boxwise._transport import Call, Wire, cancelled, going_away, lost, timed_out

_IOV_MAX = 1024  # buffers per sendmsg; POSIX guarantees 16, Linux has 1024
_READ_BYTES = 65_536
# Tolerance of a wait: within it, the kernel's timeout is not set again, which most calls save.
_CLOSE_ENOUGH_S = 0.005
# Send buffer for a server on this machine. The kernel's 4 MB leave the CPU caches before they are
# read. With this size, raw 1080p frames to a server that discards them were 1.4 times as fast from
# one thread and 1.9 times from four; with Triton no slower. Across a network the kernel decides.
_LOCAL_SEND_BYTES = 131_072
# after the last call: within it, a connection is used without checking that it lives
_WARM_S = 0.05


class Connection:
    """One socket for one call at a time. Only `abort` may be called from another thread."""

    def __init__(self, endpoint: Endpoint, wire: Wire, deadline: float) -> None:
        self._endpoint = endpoint
        self._http2 = Http2()
        self._aborted = False
        try:
            self._socket = _connect(endpoint, wire, deadline)
        except OSError as error:
            raise lost(endpoint, error, sent=False) from error
        self._secure = wire.tls is not None
        self._limits: dict[int, float] = {}  # socket option -> timeout set in the kernel
        self._used_at = time.monotonic()
        try:
            self._flush(deadline)  # the preface, to which the server responds with SETTINGS
        except OSError as error:
            self.close()
            raise self._lost(error, sent=False) from error

    def call(self, call: Call, deadline: float) -> memoryview:
        """Send a call and wait for its response until `deadline` (monotonic seconds).

        Raises:
            Status: of the server, or of the connection, which is then closed.
        """
        try:
            return reply(self._wait(self.begin(call, deadline), deadline))
        except BaseException as error:
            if not isinstance(error, Status) or error.local:
                self.close()
            raise

    def begin(self, call: Call, deadline: float) -> Stream:
        """Start a call as soon as the server accepts one, and send what its windows allow."""
        if self._http2.free <= 0:
            self._wait_for_room(deadline)
        stream = self._http2.open(call.headers(deadline - time.monotonic()), call.body)
        try:
            self._flush(deadline)
        except OSError as error:
            raise self._lost(error, sent=False) from error
        return stream

    def _wait_for_room(self, deadline: float) -> None:
        while not self.room:
            self.receive(deadline)
        if not self._http2.usable:
            raise going_away()

    def _wait(self, stream: Stream, deadline: float) -> Stream:
        while True:
            if stream in self.receive(deadline):
                self._used_at = time.monotonic()
                return stream

    def receive(self, deadline: float) -> Sequence[Stream]:
        """Read once, send what HTTP/2 requires in return, and return the calls that ended."""
        try:
            data = self._read(deadline)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection")
            ended = self._http2.receive(data)
            self._flush(deadline)
        except (OSError, ProtocolError) as error:
            raise self._lost(error, sent=bool(self._http2.streams)) from error
        return ended

    def _lost(self, error: Exception, *, sent: bool) -> Status:
        if self._aborted:
            return cancelled()
        # BlockingIOError is the kernel's timeout.
        if isinstance(error, (TimeoutError, BlockingIOError)):
            return timed_out("no response in time")
        return lost(self._endpoint, error, sent=sent)

    def fresh(self) -> bool:
        """Return whether an idle connection still works, after reading what the server has sent."""
        if time.monotonic() - self._used_at < _WARM_S:
            return True
        try:
            if self._secure:
                self._socket.settimeout(0)
            while data := self._socket.recv(
                _READ_BYTES, 0 if self._secure else socket.MSG_DONTWAIT
            ):
                self._http2.receive(data)
            return False
        except (BlockingIOError, ssl.SSLWantReadError):
            return self._http2.usable
        except (OSError, ProtocolError):
            return False

    @property
    def room(self) -> bool:
        """Whether `begin` returns or fails immediately: the server's SETTINGS arrived and allow a
        call, or it accepts no more.
        """
        return self._http2.free > 0 or not self._http2.usable

    @property
    def usable(self) -> bool:
        """Whether another call can be made on it."""
        return not self._aborted and self._http2.usable and self._socket.fileno() >= 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def pending(self) -> bool:
        """Return whether TLS holds decrypted bytes."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def abort(self) -> None:
        """End the call of another thread."""
        self._aborted = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _flush(self, deadline: float) -> None:
        buffers = self._http2.output()
        if not buffers:
            return
        if self._secure:
            self._socket.settimeout(_left(deadline))
            self._socket.sendall(b"".join(buffers))
            return
        while buffers:
            self._limit(socket.SO_SNDTIMEO, deadline)
            now, later = (
                (buffers, [])
                if len(buffers) <= _IOV_MAX
                else (buffers[:_IOV_MAX], buffers[_IOV_MAX:])
            )
            buffers = _unsent(now, self._socket.sendmsg(now)) + later

    def _read(self, deadline: float) -> bytes:
        if self._secure:
            self._socket.settimeout(_left(deadline))
        else:
            self._limit(socket.SO_RCVTIMEO, deadline)
        return self._socket.recv(_READ_BYTES)

    def _limit(self, option: int, deadline: float) -> None:
        """Set the kernel's timeout of a wait.

        With a timeout of Python's own, each wait would take an extra `poll`, and release the
        interpreter's lock for it.
        """
        left = _left(deadline)
        if not 0 <= self._limits.get(option, -1.0) - left < _CLOSE_ENOUGH_S:
            self._limits[option] = left
            self._socket.setsockopt(
                socket.SOL_SOCKET, option, struct.pack("@ll", int(left), int(left % 1 * 1e6) or 1)
            )


class Pool:
    """The connections to one server."""

    def __init__(self, endpoint: Endpoint, wire: Wire) -> None:
        self.endpoint = endpoint
        self._wire = wire
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        # One token per connection. threading.Semaphore is Python code, and ten times as slow.
        self._tokens: SimpleQueue[None] = SimpleQueue()
        for _ in range(wire.connections):
            self._tokens.put(None)

    def take(self, deadline: float) -> Connection:
        """Return a connection for one call: an idle one, a new one, or the next to become free.

        Raises:
            Status: the server cannot be reached, or all connections are busy until the deadline.
        """
        try:
            self._tokens.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            busy = f"all {self._wire.connections} connections to {self.endpoint} are busy"
            raise timed_out(busy) from None
        try:
            while True:
                try:
                    # the most recently used, so that the others may expire
                    connection = self._idle.pop()
                except IndexError:
                    connection = Connection(self.endpoint, self._wire, deadline)
                if connection.fresh():
                    self._busy.add(connection)
                    return connection
                connection.close()
        except BaseException:
            self._tokens.put(None)
            raise

    def give(self, connection: Connection) -> None:
        """Return a connection after its call."""
        self._busy.discard(connection)
        if connection.usable:
            self._idle.append(connection)
        else:
            connection.close()
        self._tokens.put(None)

    def close(self) -> None:
        """Close idle connections, and end the calls in flight."""
        for connection in tuple(self._busy):
            connection.abort()
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return


def _unsent(buffers: list[Buffer], sent: int) -> list[Buffer]:
    """Return what is left of the buffers after `sent` bytes."""
    if sent == sum(map(len, buffers)):
        return []
    start = 0
    while sent >= len(buffers[start]):
        sent -= len(buffers[start])
        start += 1
    return [memoryview(buffers[start])[sent:], *buffers[start + 1 :]]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    return left


def _connect(endpoint: Endpoint, wire: Wire, deadline: float) -> socket.socket:
    left = min(_left(deadline), wire.connect_timeout_s)
    if endpoint.path:
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        plain.settimeout(left)
        try:
            plain.connect(endpoint.path)
        except BaseException:
            plain.close()
            raise
    else:
        plain = socket.create_connection((endpoint.host, endpoint.port), timeout=left)
        wire.tune(plain)
        if endpoint.local:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LOCAL_SEND_BYTES)
    if wire.tls is None:
        plain.settimeout(None)
        return plain
    try:
        secure = wire.tls.wrap_socket(
            plain, server_hostname=wire.server_name or endpoint.host or "localhost"
        )
        wire.check_protocol(secure.selected_alpn_protocol())
    except BaseException:
        plain.close()
        raise
    return secure
