"""Which server the next request goes to: round robin over those that are up. No I/O; the time is
passed in.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from boxwise._endpoint import Endpoint

_LOG = logging.getLogger("boxwise")

# A server that refused is left out for so long, then one request tries it: refusals are answered at
# once.
_REFUSED_S = 0.5
# One that did not answer at all costs its probe a timeout, and is asked less often.
_SILENT_S = 5.0
_SILENT_TIMES = 3  # deadlines in a row after which a server counts as silent
_RESOLVE_EVERY_S = (
    10.0  # sooner than a pod stops that has left its name: the chart has it sleep for 20
)
_RESOLVE_AFTER_FAILURE_S = 1.0


@dataclass(slots=True)
class _State:
    down_until: float = 0.0
    silent: int = 0


class Balancer:
    """The servers behind a client's targets; thread-safe.

    Args:
        targets: those with `many` are names, whose addresses `resolved` brings.

    Attributes:
        names: the targets that are names.
    """

    def __init__(self, targets: Sequence[Endpoint]) -> None:
        self._targets = targets
        self.names = [each for each in targets if each.many]
        self._addresses: dict[Endpoint, tuple[Endpoint, ...]] = {
            each: () if each.many else (each,) for each in targets
        }
        self._servers: tuple[Endpoint, ...] = ()
        self._states: dict[Endpoint, _State] = {}
        self._asked: dict[Endpoint, float] = {}
        self._turn = count()
        self._lock = threading.Lock()
        self._spread()

    @property
    def servers(self) -> tuple[Endpoint, ...]:
        """All that are known now."""
        return self._servers

    def unresolved(self) -> Sequence[Endpoint]:
        """Names without an address yet: nothing can be sent before one has some."""
        return () if self._servers else self.names

    def due(self, now: float) -> Sequence[Endpoint]:
        """Names to be looked up again, each said once:
        it is time, or one of their servers is gone.
        """
        with self._lock:
            late = []
            for name in self.names:
                gone = any(self._down_until(each) > now for each in self._addresses[name])
                if now - self._asked.get(name, 0.0) > (
                    _RESOLVE_AFTER_FAILURE_S if gone else _RESOLVE_EVERY_S
                ):
                    self._asked[name] = now
                    late.append(name)
            return late

    def resolved(self, name: Endpoint, addresses: Sequence[Endpoint], now: float) -> None:
        """A name was looked up; where nothing was found, what was known stays."""
        with self._lock:
            self._asked[name] = now
            if addresses:
                self._addresses[name] = tuple(addresses)
                self._spread()

    def pick(self, now: float, avoid: Endpoint | None = None) -> Endpoint:
        """The server of the next request.

        Args:
            now: monotonic seconds.
            avoid: it has just failed this request; taken only where there is no other.
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
        """A second server that is up, or None."""
        servers = self._servers
        start = servers.index(than) + 1 if than in servers else 0
        for each in (*servers[start:], *servers[:start]):
            if each != than and self._down_until(each) <= now:
                return each
        return None

    def failed(self, server: Endpoint, now: float, *, silent: bool) -> None:
        """The connection to a server failed, or it did not answer in time (`silent`)."""
        with self._lock:
            state = self._states.get(server)
            if state is None:
                return
            state.silent = state.silent + 1 if silent else 0
            if silent and state.silent < _SILENT_TIMES:
                return
            if state.down_until == 0.0 and len(self._servers) > 1:
                _LOG.warning(
                    "%s is left out: %s", server, "no answer in time" if silent else "no connection"
                )
            state.down_until = now + (_SILENT_S if silent else _REFUSED_S)

    def answered(self, server: Endpoint) -> None:
        """A server answered, whatever it said."""
        state = self._states.get(server)
        if state is not None and (state.down_until or state.silent):
            with self._lock:
                if state.down_until and len(self._servers) > 1:
                    _LOG.info("%s answers again", server)
                state.down_until, state.silent = 0.0, 0

    def _down_until(self, server: Endpoint) -> float:
        state = self._states.get(server)  # None where a name has just lost this address
        return state.down_until if state else 0.0

    def _spread(self) -> None:
        servers = tuple(
            dict.fromkeys(each for name in self._targets for each in self._addresses[name])
        )
        self._states = {each: self._states.get(each, _State()) for each in servers}
        self._servers = servers
