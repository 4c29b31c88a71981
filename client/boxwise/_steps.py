"""The I/O that a call wants: what the generators of `Session` yield, and both clients do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from boxwise._endpoint import Endpoint
from boxwise._errors import BoxwiseError
from boxwise._http2 import Buffer
from boxwise._transport import Call

T = TypeVar("T")


@dataclass(slots=True)
class Send:
    """Make a call, and answer with its reply and the server that gave it; a failure is a `Status`.

    `other`, after `after_s` seconds without a reply, is asked too, if `allowed` says so.
    """

    server: Endpoint
    call: Call
    deadline: float
    after_s: float = 0.0
    other: Endpoint | None = None
    allowed: Callable[[], bool] | None = None


@dataclass(slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Resolve:
    """Look a name up, and tell the balancer; wait for it, or do it on the side."""

    name: Endpoint
    wait: bool
    deadline: float


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for what another call of this client finds out, and return its failure, or None."""

    future: Future[BoxwiseError | None]
    deadline: float


@dataclass(frozen=True, slots=True)
class Work:
    """Run a function that may take milliseconds of CPU or a disk's."""

    function: Callable[[], Any]


Effect: TypeAlias = "Send | Pause | Resolve | Join | Work"
Steps: TypeAlias = "Generator[Effect, Any, T]"
Reply: TypeAlias = "tuple[memoryview, Endpoint]"
Body: TypeAlias = "Sequence[Buffer]"
