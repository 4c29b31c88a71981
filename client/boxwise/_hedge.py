"""A hedged call with blocking sockets: one thread, two connections, the first response."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from boxwise._blocking import Connection, Pool
from boxwise._endpoint import Endpoint
from boxwise._grpc import Status, reply
from boxwise._http2 import Stream
from boxwise._prediction import Scope
from boxwise._steps import Reply, Send
from boxwise._transport import timed_out


class Race:
    """A call to one server, and after a while also to another."""

    def __init__(self, pool: Callable[[Endpoint], Pool], send: Send, scope: Scope | None) -> None:
        self._pool = pool
        self._send = send
        self._scope = scope
        self._running: dict[int, tuple[Connection, Pool, Stream | None]] = {}

    def run(self) -> Reply:
        send = self._send
        hedge_at = time.monotonic() + send.after_s
        second: Endpoint | None = send.other
        try:
            self._start(send.server)
            while True:
                until = send.deadline if second is None else min(hedge_at, send.deadline)
                ready = self._readable(until - time.monotonic())
                if ready:
                    response = self._read(ready)
                    if response is not None:
                        return response
                elif time.monotonic() >= send.deadline:
                    raise timed_out("no response in time")
                elif second is not None:
                    other, second = second, None
                    if send.allowed is None or send.allowed():
                        try:
                            self._start(other)
                        except Status:
                            continue  # the first may still respond
        finally:
            for connection, pool, _ in self._running.values():
                connection.close()  # cancels the slower call on its server
                self._finish(connection, pool)

    def _start(self, server: Endpoint) -> None:
        pool = self._pool(server)
        connection = pool.take(self._send.deadline)
        try:
            if self._scope is not None:
                self._scope.add(connection)
            stream = self._begun(connection)
        except BaseException:
            connection.close()
            self._finish(connection, pool)
            raise
        self._running[connection.fileno()] = (connection, pool, stream)

    def _begun(self, connection: Connection) -> Stream | None:
        """Start the call; return None if the server has no room, so that the other can start."""
        return connection.begin(self._send.call, self._send.deadline) if connection.room else None

    def _readable(self, timeout_s: float) -> list[int]:
        pending = [
            number for number, (connection, _, _) in self._running.items() if connection.pending()
        ]
        if pending:
            return pending
        poll = select.poll()
        for number in self._running:
            poll.register(number, select.POLLIN)
        return [number for number, _ in poll.poll(max(0.0, timeout_s) * 1e3)]

    def _read(self, ready: list[int]) -> Reply | None:
        for number in ready:
            connection, pool, stream = self._running[number]
            try:
                ended = connection.receive(self._send.deadline)
                if stream is None:
                    self._running[number] = connection, pool, self._begun(connection)
                if stream is None or stream not in ended:
                    continue
                response = reply(stream), pool.endpoint
            except Status:
                del self._running[number]
                connection.close()
                self._finish(connection, pool)
                if not self._running:
                    raise
                continue
            del self._running[number]
            self._finish(connection, pool)
            return response
        return None

    def _finish(self, connection: Connection, pool: Pool) -> None:
        if self._scope is not None:
            self._scope.remove(connection)
        pool.give(connection)
