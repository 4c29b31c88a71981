"""Every gRPC status has its error, with a sentence a person can read."""

from __future__ import annotations

import grpc
import pytest

from boxwise import (
    BoxwiseError,
    ContractMismatch,
    DeadlineExceeded,
    InvalidInput,
    ServerError,
    Unavailable,
    UnknownPipeline,
    _errors,
)

REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:8001: "
    "Failed to connect to remote host: connect: Connection refused (111)"
)


@pytest.mark.parametrize(
    ("code", "details", "kind", "sentence"),
    [
        ("INVALID_ARGUMENT", "image: empty", InvalidInput, "image: empty"),
        ("INVALID_ARGUMENT", "in ensemble 'street', image: empty", InvalidInput, "image: empty"),
        ("INVALID_ARGUMENT", "in ensemble 'a', in ensemble 'b', no", InvalidInput, "no"),
        (
            "NOT_FOUND",
            "Request for unknown model: 'street' is not found",
            UnknownPipeline,
            "the server at host:1 has no pipeline 'street': Request for unknown model: 'street' is not found",
        ),
        ("UNAVAILABLE", REFUSED, Unavailable, "the server at host:1 is not available: Connection refused (111)"),
        ("UNAVAILABLE", "Queue full", Unavailable, "the server at host:1 is not available: Queue full"),
        (
            "DEADLINE_EXCEEDED",
            "Deadline Exceeded",
            DeadlineExceeded,
            "pipeline 'street' at host:1 did not answer within 0.5 s (timeout_s)",
        ),
        (
            "INTERNAL",
            "in ensemble 'street', broken",
            ServerError,
            "pipeline 'street' at host:1 failed with INTERNAL: broken",
        ),
        ("INTERNAL", None, ServerError, "pipeline 'street' at host:1 failed with INTERNAL: no reason given"),
    ],
)
def test_a_status_becomes_its_error(code: str, details: str | None, kind: type[BoxwiseError], sentence: str) -> None:
    error = _errors.from_status(code, details, pipeline="street", url="host:1", timeout_s=0.5)
    assert type(error) is kind
    assert str(error) == sentence
    assert (error.code, error.pipeline) == (code, "street")
    assert error.server_message


def test_the_table_knows_only_statuses_that_grpc_has() -> None:
    assert set(_errors._BY_CODE) <= {code.name for code in grpc.StatusCode}


def test_the_docstring_draws_the_tree_that_there_is() -> None:
    tree = _errors.__doc__ or ""
    drawn = [line.split()[1] for line in tree.splitlines() if line.startswith(("├── ", "└── "))]
    assert drawn == [kind.__name__ for kind in BoxwiseError.__subclasses__()]
    assert ContractMismatch in BoxwiseError.__subclasses__()
