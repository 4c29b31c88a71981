"""Connections on an asyncio loop: many calls at once on each, and a few of them for each server."""

from __future__ import annotations

import asyncio
import contextlib
import time

from boxwise._endpoint import Endpoint
from boxwise._grpc import Status, reply
from boxwise._http2 import Http2, ProtocolError, Stream
from boxwise._transport import Call, Wire, cancelled, lost, timed_out

# What asyncio holds of what we write, before it asks us to wait: two raw frames of 1080p.
_BUFFER_BYTES = 2**24


class Connection(asyncio.Protocol):
    """One socket with any number of calls on it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._http2 = Http2()
        self._waiting: dict[Stream, asyncio.Future[Stream]] = {}
        self._error: Status | None = None
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._room = asyncio.Event()  # set whenever a call ends

    @classmethod
    async def open(cls, endpoint: Endpoint, wire: Wire) -> Connection:
        """Connect.

        Raises:
            Status: the server can not be reached.
        """
        loop = asyncio.get_running_loop()
        connection = cls(endpoint)
        name = None if wire.tls is None else wire.server_name or endpoint.host or "localhost"
        try:
            async with asyncio.timeout(wire.connect_timeout_s):
                if endpoint.path:
                    await loop.create_unix_connection(
                        lambda: connection, endpoint.path, ssl=wire.tls, server_hostname=name
                    )
                else:
                    await loop.create_connection(
                        lambda: connection, endpoint.host, endpoint.port, ssl=wire.tls, server_hostname=name
                    )
            connection._check(wire)
        except OSError as error:
            connection.close()
            raise lost(endpoint, error, sent=False) from error
        return connection

    def _check(self, wire: Wire) -> None:
        transport = self._transport
        if transport is None:
            return
        if wire.tls is not None:
            wire.check_protocol(transport.get_extra_info("ssl_object").selected_alpn_protocol())
        if not self._endpoint.path:
            wire.tune(transport.get_extra_info("socket"))

    @property
    def usable(self) -> bool:
        """Whether it takes another call, now or later."""
        return self._error is None and self._http2.usable

    @property
    def busy(self) -> int:
        """Calls under way."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the server takes no more calls at once on this connection."""
        return self._http2.free <= 0

    async def call(self, call: Call, deadline: float) -> memoryview:
        """Send a call and wait for its answer, no longer than `deadline` (monotonic seconds).

        Cancelling the task that waits ends the call on the server too.

        Raises:
            Status: of the server, or of the connection.
        """
        if self.full or not self._writable.is_set():
            await self._room_for_one(deadline)
        if self._error is not None:
            raise self._error
        left = deadline - time.monotonic()
        stream = self._http2.open(call.headers(left), call.body)
        loop = asyncio.get_running_loop()
        waiting = self._waiting[stream] = loop.create_future()
        timer = loop.call_later(left, _expire, waiting)  # half of what asyncio.timeout costs, 5 us a call
        self._flush()
        try:
            await waiting
        except BaseException:
            self._http2.reset(stream)
            self._flush()
            raise
        finally:
            timer.cancel()
            self._waiting.pop(stream, None)
            self._room.set()
        return reply(stream)

    async def _room_for_one(self, deadline: float) -> None:
        """Wait until the server takes another call, or the connection fails."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._writable.wait()
                while self.full and self._error is None:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            raise timed_out("no answer in time") from None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio promises it, for the type checker
        self._transport = transport
        transport.set_write_buffer_limits(_BUFFER_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            ended = self._http2.receive(data)
        except ProtocolError as error:
            self.connection_lost(error)
            return
        for stream in ended:
            waiting = self._waiting.get(stream)
            if waiting is not None and not waiting.done():
                waiting.set_result(stream)
        self._flush()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(lost(self._endpoint, exc or ConnectionError("the server closed the connection"), sent=True))

    def close(self) -> None:
        """Close it; the calls under way are cancelled."""
        self._fail(cancelled())

    def _fail(self, status: Status) -> None:
        self._error = self._error or status
        self._writable.set()
        self._room.set()
        if self._transport is not None:
            self._transport.abort()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._error)

    def _flush(self) -> None:
        if self._transport is not None and self._error is None and (buffers := self._http2.output()):
            self._transport.writelines(buffers)


class Pool:
    """The connections to one server: one, and more only while it takes no more calls on those there are."""

    def __init__(self, endpoint: Endpoint, wire: Wire) -> None:
        self._endpoint = endpoint
        self._wire = wire
        self._connections: list[Connection] = []
        self._opening: asyncio.Task[Connection] | None = None

    async def call(self, call: Call, deadline: float) -> memoryview:
        """Make a call on the connection that has least to do.

        Raises:
            Status: of the server, or of the connection.
        """
        connection = self._free()
        while connection is None:
            connection = await self._open(deadline)
            if connection.full:
                connection = self._free()
        return await connection.call(call, deadline)

    def close(self) -> None:
        """Close all of them."""
        if self._opening is not None:
            self._opening.cancel()
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _free(self) -> Connection | None:
        self._connections = [each for each in self._connections if each.usable]
        open_ones = [each for each in self._connections if not each.full]
        if not open_ones and len(self._connections) >= self._wire.connections:
            return min(self._connections, key=lambda each: each.busy)
        return min(open_ones, key=lambda each: each.busy, default=None)

    async def _open(self, deadline: float) -> Connection:
        """A new connection; those who ask for one meanwhile get the same."""
        if self._opening is None:
            self._opening = asyncio.create_task(Connection.open(self._endpoint, self._wire))
            self._opening.add_done_callback(self._opened)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await asyncio.shield(self._opening)
        except TimeoutError:
            raise timed_out("no connection in time") from None

    def _opened(self, task: asyncio.Task[Connection]) -> None:
        self._opening = None
        with contextlib.suppress(Status, asyncio.CancelledError):
            self._connections.append(task.result())


def _expire(waiting: asyncio.Future[Stream]) -> None:
    if not waiting.done():
        waiting.set_exception(timed_out("no answer in time"))
