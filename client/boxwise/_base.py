"""The base of both clients: their arguments, and their state after closing and forking."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence

from boxwise._errors import Cancelled
from boxwise._image import Transfer
from boxwise._policy import Hedge, Retry
from boxwise._security import TLS, Token
from boxwise._session import DEFAULT_TIMEOUT_S, Session


class BaseClient:
    """A `Session` and its state; `Client` documents the arguments."""

    def __init__(
        self,
        target: str | Sequence[str] = "localhost:8001",
        *,
        pipeline: str = "boxwise",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transfer: Transfer = "auto",
        retry: Retry | None = Retry(),  # noqa: B008 - frozen
        hedge: Hedge | None = None,
        tls: TLS | bool = False,
        token: Token | None = None,
        metadata: Mapping[str, str] | None = None,
        connections: int = 64,
        keepalive_s: float = 10.0,
    ) -> None:
        self._session = Session(
            target,
            pipeline=pipeline,
            timeout_s=timeout_s,
            transfer=transfer,
            retry=retry,
            hedge=hedge,
            tls=tls,
            token=token,
            metadata=metadata,
            connections=connections,
            keepalive_s=keepalive_s,
        )
        self._closed = False
        self._reset()
        _clients.add(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._session)!r}, pipeline={self._session.pipeline!r})"

    def _reset(self) -> None:
        """Drop all connections."""
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._closed:
            raise Cancelled(f"the client of {self._session} is closed: make a new one")

    def _forked(self) -> None:
        """Start afresh in the child of a fork: its connections belong to the parent."""
        self._reset()
        self._session.forget()


_clients: weakref.WeakSet[BaseClient] = weakref.WeakSet()


def _after_fork() -> None:
    for client in tuple(_clients):
        client._forked()


os.register_at_fork(after_in_child=_after_fork)
