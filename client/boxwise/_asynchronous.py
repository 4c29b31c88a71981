"""Connections of asyncio: many concurrent calls on each, and a few connections per server."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from boxwise._endpoint import Endpoint
from boxwise._grpc import Status, reply
from boxwise._http2 import Http2, ProtocolError, Stream
from boxwise._transport import Call, Wire, cancelled, going_away, lost, timed_out

# Unsent bytes that asyncio holds before it pauses writing: two raw 1080p frames.
_BUFFER_BYTES = 2**24
# After the last received data: within it, an idle connection is used without checking that it
# lives.
_WARM_S = 0.05


class Connection(asyncio.Protocol):
    """One socket with any number of concurrent calls.

    It calls `changed` whenever it may have room for another call, and when it closes.

    Attributes:
        error: why it is closed; None while it is open.
        used: whether a call was made on it.
    """

    def __init__(self, endpoint: Endpoint, changed: Callable[[Connection], None]) -> None:
        self._endpoint = endpoint
        self._changed = changed
        self._http2 = Http2()
        self._waiting: dict[Stream, asyncio.Future[Stream]] = {}
        self.error: Status | None = None
        self.used = False
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._heard_at = time.monotonic()
        self._settled = asyncio.Event()  # the server's SETTINGS arrived, or the connection failed

    @classmethod
    async def open(
        cls, endpoint: Endpoint, wire: Wire, changed: Callable[[Connection], None]
    ) -> Connection:
        """Connect, and wait for the server's SETTINGS: they limit the number of concurrent calls.

        Raises:
            Status: the server cannot be reached, or accepts no calls.
        """
        loop = asyncio.get_running_loop()
        connection = cls(endpoint, changed)
        name = None if wire.tls is None else wire.server_name or endpoint.host or "localhost"
        try:
            async with asyncio.timeout(wire.connect_timeout_s):
                if endpoint.path:
                    await loop.create_unix_connection(
                        lambda: connection, endpoint.path, ssl=wire.tls, server_hostname=name
                    )
                else:
                    await loop.create_connection(
                        lambda: connection,
                        endpoint.host,
                        endpoint.port,
                        ssl=wire.tls,
                        server_hostname=name,
                    )
            connection._check(wire)
            await connection._settled.wait()
            if connection.error is not None:
                raise connection.error
        except OSError as error:
            connection.close()
            raise lost(endpoint, error, sent=False) from error
        except BaseException:
            connection.close()
            raise
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
        """Whether another call can be made on it, now or later."""
        return self.error is None and self._http2.usable

    @property
    def room(self) -> int:
        """How many calls can start now."""
        return self._http2.free if self.usable and not self._paused else 0

    @property
    def crowded(self) -> bool:
        """Whether calls in flight take all the room, so that another connection helps."""
        return not self._paused and self._http2.limit != 0

    @property
    def cold(self) -> bool:
        """Whether it may have closed since the loop last read from it."""
        return not self._waiting and time.monotonic() - self._heard_at > _WARM_S

    @property
    def busy(self) -> int:
        """The number of calls in flight."""
        return len(self._waiting)

    async def call(self, call: Call, deadline: float) -> memoryview:
        """Send a call and wait for its response until `deadline` (monotonic seconds).

        There must be room for it. Cancelling the awaiting task cancels the call on the server too.

        Raises:
            Status: of the server, or of the connection.
        """
        self.used = True
        left = deadline - time.monotonic()
        stream = self._http2.open(call.headers(left), call.body)
        loop = asyncio.get_running_loop()
        waiting = self._waiting[stream] = loop.create_future()
        # asyncio.timeout costs twice as much, 5 us more per call.
        timer = loop.call_later(left, _expire, waiting)
        self._flush()
        try:
            await waiting
        except BaseException:
            self._http2.reset(stream)
            self._flush()
            self._changed(self)
            raise
        finally:
            timer.cancel()
            self._waiting.pop(stream, None)
            if not self._waiting:
                self._close_if_done()
        return reply(stream)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        transport.set_write_buffer_limits(_BUFFER_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        try:
            ended = self._http2.receive(data)
        except ProtocolError as error:
            self._lose(error)
            return
        for stream in ended:
            waiting = self._waiting.get(stream)
            if waiting is not None and not waiting.done():
                waiting.set_result(stream)
        self._flush()
        if self._http2.limit is not None:
            self._settled.set()
        if not self._waiting:
            self._close_if_done()
        self._changed(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._changed(self)

    def eof_received(self) -> None:
        self._lose(None)  # now: asyncio would first send its whole buffer

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None  # aborting it in this callback makes asyncio print an error
        self._lose(exc)

    def close(self) -> None:
        """Close it and cancel the calls in flight."""
        self._fail(cancelled())

    def _close_if_done(self) -> None:
        """Close the idle connection if the server accepts no more calls on it."""
        if not self._http2.usable:
            self._fail(going_away())

    def _lose(self, error: Exception | None) -> None:
        error = error or ConnectionError("the server closed the connection")
        self._fail(lost(self._endpoint, error, sent=bool(self._waiting)))

    def _fail(self, status: Status) -> None:
        self.error = self.error or status
        self._settled.set()
        if self._transport is not None:
            self._transport.abort()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self.error)
        self._changed(self)

    def _flush(self) -> None:
        transport = self._transport
        if (
            transport is not None
            and not transport.is_closing()
            and (buffers := self._http2.output())
        ):
            transport.writelines(buffers)


class Pool:
    """The connections to one server. Another one is opened only if none has room for a call."""

    def __init__(self, endpoint: Endpoint, wire: Wire) -> None:
        self._endpoint = endpoint
        self._wire = wire
        self._connections: list[Connection] = []
        self._opening: asyncio.Task[Connection] | None = None
        # Calls for which no connection has room, in order.
        self._queue: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def call(self, call: Call, deadline: float) -> memoryview:
        """Make a call on the least busy connection, as soon as one has room.

        Raises:
            Status: of the server, or of the connection.
        """
        connection = None if self._queue else self._free()
        if connection is not None and connection.cold:
            for _ in range(2):  # one turn of the loop to poll, one to read
                await asyncio.sleep(0)
            connection = None if self._queue else self._free()
        woken = False
        while connection is None:
            await self._turn(deadline, first=woken)
            connection, woken = self._free(), True
        return await connection.call(call, deadline)

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._give_up(cancelled())
        if self._opening is not None:
            self._opening.cancel()
        for connection in tuple(self._connections):
            connection.close()

    def _free(self) -> Connection | None:
        """Return the least busy connection with room."""
        free = [each for each in self._connections if each.room > 0]
        return min(free, key=_busy) if len(free) > 1 else free[0] if free else None

    async def _turn(self, deadline: float, *, first: bool) -> None:
        """Queue the call, `first` at the head, until there may be room."""
        if self._closed:
            raise cancelled()
        turn = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if first else self._queue.append)(turn)
        self._update()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await turn
        except BaseException as error:
            self._update()  # pass the turn on
            if isinstance(error, TimeoutError):
                raise timed_out("no connection took the call in time") from None
            raise

    def _changed(self, connection: Connection) -> None:
        if connection.error is not None and connection in self._connections:
            self._connections.remove(connection)
            if not connection.used and not self._connections:
                # As if it had not opened: the next one might close as quickly.
                self._give_up(connection.error)
        self._update()

    def _update(self) -> None:
        """Wake as many queued calls as there is room for; open a connection for the others."""
        if not self._queue:
            return
        room = sum(max(0, each.room) for each in self._connections)
        while self._queue and (room > 0 or self._queue[0].done()):
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1
        usable = [each for each in self._connections if each.usable]
        if (
            self._queue
            and len(usable) < self._wire.connections
            and all(each.crowded for each in usable)
        ):
            self._open()

    def _open(self) -> None:
        if self._opening is None:
            self._opening = asyncio.create_task(
                Connection.open(self._endpoint, self._wire, self._changed)
            )
            self._opening.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[Connection]) -> None:
        self._opening = None
        if task.cancelled():
            return
        try:
            connection = task.result()
        except Status as status:
            # Otherwise the queued calls wait for the usable ones.
            if not any(each.usable for each in self._connections):
                self._give_up(status)
        else:
            self._connections.append(connection)
            self._changed(connection)

    def _give_up(self, status: Status) -> None:
        """Fail every queued call."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_exception(status)


def _busy(connection: Connection) -> int:
    return connection.busy


def _expire(waiting: asyncio.Future[Stream]) -> None:
    if not waiting.done():
        waiting.set_exception(timed_out("no response in time"))
