"""Load balancing: round robin over the servers that are up. No I/O; times are arguments."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from boxwise._endpoint import Endpoint

_LOG = logging.getLogger("boxwise")

# How long a server that refused a connection is left out before one request probes it.
_REFUSED_S = 0.5
# The same after timeouts: longer, because a probe of a silent server costs a timeout.
_SILENT_S = 5.0
_SILENT_TIMES = 3  # consecutive timeouts after which a server counts as silent
# Shorter than the 20 s that the chart's pods keep serving after they leave DNS.
_RESOLVE_EVERY_S = 10.0
_RESOLVE_AFTER_FAILURE_S = 1.0


@dataclass(slots=True)
class _State:
    down_until: float = 0.0
    silent: int = 0


class Balancer:
    """The servers behind a client's targets; thread-safe.

    Args:
        targets: those with `many` are DNS names, whose addresses `resolved` adds.

    Attributes:
        names: the targets that are DNS names.
    """

    def __init__(self, targets: Sequence[Endpoint]) -> None:
        self._targets = targets
        self.names = [each for each in targets if each.many]
        self._addresses: dict[Endpoint, tuple[Endpoint, ...]] = {
            each: () if each.many else (each,) for each in targets
        }
        self._servers: tuple[Endpoint, ...] = ()
        self._states: dict[Endpoint, _State] = {}
        self._resolved_at: dict[Endpoint, float] = {}
        self._turn = count()
        self._lock = threading.Lock()
        self._spread()

    @property
    def servers(self) -> tuple[Endpoint, ...]:
        """All known servers."""
        return self._servers

    def unresolved(self) -> Sequence[Endpoint]:
        """Return the names to resolve before anything can be sent."""
        return () if self._servers else self.names

    def due(self, now: float) -> Sequence[Endpoint]:
        """Return the names to resolve again, each once: periodically, and after a failure."""
        with self._lock:
            due = []
            for name in self.names:
                gone = any(self._down_until(each) > now for each in self._addresses[name])
                if now - self._resolved_at.get(name, 0.0) > (
                    _RESOLVE_AFTER_FAILURE_S if gone else _RESOLVE_EVERY_S
                ):
                    self._resolved_at[name] = now
                    due.append(name)
            return due

    def resolved(self, name: Endpoint, addresses: Sequence[Endpoint], now: float) -> None:
        """Record the addresses of a name; without any, the known ones are kept."""
        with self._lock:
            self._resolved_at[name] = now
            if addresses:
                self._addresses[name] = tuple(addresses)
                self._spread()

    def pick(self, now: float, avoid: Endpoint | None = None) -> Endpoint:
        """Return the server of the next request.

        Args:
            now: monotonic seconds.
            avoid: the server that has just failed this request; used only if there is no other.
        """
        servers = self._servers
        if len(servers) == 1:
            return servers[0]
        start = next(self._turn)
        ring = [servers[(start + i) % len(servers)] for i in range(len(servers))]
        up = [each for each in ring if self._down_until(each) <= now]
        for each in up:
            if each != avoid:
                return each
        if up:
            return up[0]
        return min(ring, key=lambda each: (each == avoid, self._down_until(each)))

    def other(self, now: float, than: Endpoint) -> Endpoint | None:
        """Return another server that is up, or None."""
        servers = self._servers
        start = servers.index(than) + 1 if than in servers else 0
        for each in (*servers[start:], *servers[:start]):
            if each != than and self._down_until(each) <= now:
                return each
        return None

    def failed(self, server: Endpoint, now: float, *, silent: bool) -> None:
        """Record that a connection failed, or that a server did not respond in time (`silent`)."""
        with self._lock:
            state = self._states.get(server)
            if state is None:
                return
            state.silent = state.silent + 1 if silent else 0
            if silent and state.silent < _SILENT_TIMES:
                return
            if state.down_until == 0.0 and len(self._servers) > 1:
                _LOG.warning(
                    "%s is left out: %s",
                    server,
                    "no response in time" if silent else "no connection",
                )
            state.down_until = now + (_SILENT_S if silent else _REFUSED_S)

    def responded(self, server: Endpoint) -> None:
        """Record that a server responded, be it with an error."""
        state = self._states.get(server)
        if state is not None and (state.down_until or state.silent):
            with self._lock:
                if state.down_until and len(self._servers) > 1:
                    _LOG.info("%s responds again", server)
                state.down_until, state.silent = 0.0, 0

    def _down_until(self, server: Endpoint) -> float:
        state = self._states.get(server)  # None if its name no longer has this address
        return state.down_until if state else 0.0

    def _spread(self) -> None:
        servers = tuple(
            dict.fromkeys(each for name in self._targets for each in self._addresses[name])
        )
        self._states = {each: self._states.get(each, _State()) for each in servers}
        self._servers = servers
