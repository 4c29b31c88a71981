"""Every gRPC status has its error, with a sentence a person can read."""

from __future__ import annotations

import re
from collections.abc import Iterator

import grpc
import pytest

import boxwise
from boxwise import (
    AccessDenied,
    BoxwiseError,
    DeadlineExceeded,
    InvalidArgument,
    InvalidImage,
    Overloaded,
    ServerError,
    StageFailed,
    Unavailable,
    UnknownPipeline,
    _errors,
    _grpc,
)

URL, SAID = "host:1", "the server at host:1"


@pytest.mark.parametrize(
    ("code", "details", "kind", "sentence"),
    [
        ("INVALID_ARGUMENT", "image: empty", InvalidImage, "image: empty"),
        ("INVALID_ARGUMENT", "in ensemble 'street', frame: empty", InvalidImage, "frame: empty"),
        ("INVALID_ARGUMENT", "in ensemble 'a', in ensemble 'b', no", InvalidArgument, "no"),
        ("INVALID_ARGUMENT", "score_threshold: 2", InvalidArgument, "score_threshold: 2"),
        (
            "NOT_FOUND",  # of a server that is stopping, and another may have it
            "Request for unknown model: 'street' has no available versions",
            Unavailable,
            f"{SAID} is not available: Request for unknown model: 'street' has no available "
            "versions",
        ),
        (
            "NOT_FOUND",
            "Request for unknown model: 'street' is not found",
            UnknownPipeline,
            f"{SAID} has no pipeline 'street': Request for unknown model: 'street' is not found",
        ),
        (
            "UNAVAILABLE",
            "This protocol is restricted, expecting header 'triton-grpc-protocol-k'",
            AccessDenied,
            "host:1 does not accept this client: This protocol is restricted, expecting header "
            "'triton-grpc-protocol-k'",
        ),
        (
            "UNAVAILABLE",
            "Exceeds maximum queue size",
            Overloaded,
            f"{SAID} is overloaded: Exceeds maximum queue size",
        ),
        (
            "UNAVAILABLE",
            "connection refused",
            Unavailable,
            f"{SAID} is not available: connection refused",
        ),
        (
            "INTERNAL",
            "Stub process is not healthy.",
            StageFailed,
            "a stage of pipeline 'street' at host:1 died: Stub",
        ),
        (
            "DEADLINE_EXCEEDED",
            "late",
            DeadlineExceeded,
            "pipeline 'street' at host:1 did not respond within 0.5 s",
        ),
        (
            "INTERNAL",
            "in ensemble 'street', broken",
            ServerError,
            "'street' at host:1 failed with INTERNAL: broken",
        ),
        (
            "INTERNAL",
            None,
            ServerError,
            "pipeline 'street' at host:1 failed with INTERNAL: no reason given",
        ),
    ],
)
def test_a_status_becomes_its_error(
    code: str, details: str | None, kind: type[BoxwiseError], sentence: str
) -> None:
    error = _errors.from_status(
        code, details, pipeline="street", url=URL, timeout_s=0.5, request_id="r-1"
    )
    assert type(error) is kind
    assert sentence in str(error)
    assert (error.code, error.pipeline, error.request_id) == (code, "street", "r-1")
    assert error.server_message


def test_what_may_succeed_later_or_elsewhere_is_retryable() -> None:
    retryable = {kind for kind in _every_kind(BoxwiseError) if kind.retryable}
    assert retryable == {Unavailable, Overloaded, StageFailed, DeadlineExceeded}


def test_the_table_knows_only_statuses_that_grpc_has() -> None:
    assert {code for code, *_ in _errors._CAUSES} - {""} <= {code.name for code in grpc.StatusCode}
    assert set(_grpc.CODES) == {code.name for code in grpc.StatusCode}
    assert [code.value[0] for name in _grpc.CODES for code in [grpc.StatusCode[name]]] == list(
        range(17)
    )


def test_the_docstring_draws_the_tree_that_there_is() -> None:
    drawn = re.findall(r"^[│├└─ ]+ (\w+)", _errors.__doc__ or "", re.MULTILINE)
    assert drawn == [kind.__name__ for kind in _every_kind(BoxwiseError)]
    assert set(drawn) < set(boxwise.__all__)


def _every_kind(kind: type[BoxwiseError]) -> Iterator[type[BoxwiseError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _every_kind(each)
