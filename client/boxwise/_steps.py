"""The steps of a call: I/O that the generators of `Session` yield and both clients carry out."""

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
    """Make a call; the outcome is a `Reply`: the response and its server, or a `Status` is raised.

    After `after_s` seconds without a response, the call is also made to `other` if `allowed()`.
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
    """Resolve a name and update the balancer; wait for it, or do it in the background."""

    name: Endpoint
    wait: bool
    deadline: float


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for the request of another call; the outcome is its error, or None."""

    future: Future[BoxwiseError | None]
    deadline: float


@dataclass(frozen=True, slots=True)
class Work:
    """Run a function that may take milliseconds of CPU or disk time."""

    function: Callable[[], Any]


Effect: TypeAlias = "Send | Pause | Resolve | Join | Work"
Steps: TypeAlias = "Generator[Effect, Any, T]"
Reply: TypeAlias = "tuple[memoryview, Endpoint]"
Body: TypeAlias = "Sequence[Buffer]"
