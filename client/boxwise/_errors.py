"""The client's errors, one class per cause, and the table from gRPC status codes to them.

BoxwiseError
├── InvalidInput        the input is invalid; the same request will fail again
│   ├── InvalidImage        the image
│   └── InvalidArgument     an argument, a threshold or an address
├── UnknownPipeline     the server has no pipeline of this name
├── ContractMismatch    server and client use different versions of the tensor contract
├── AccessDenied        the server does not accept these credentials
├── Unavailable         no server responds at this address, or it is shutting down
├── Overloaded          a queue of the server is full
├── StageFailed         a stage of the pipeline died; its server needs a restart
├── DeadlineExceeded    no response within `timeout_s`
├── Cancelled           the call was cancelled, or its client was closed
└── ServerError         any other error of the server
"""

from __future__ import annotations

import re
from typing import ClassVar

from boxwise_contract import refusals


class BoxwiseError(Exception):
    """Base class of all errors of this package; `str(error)` is a sentence for users.

    The attributes are None if no request was sent.

    Attributes:
        retryable: whether the same request may succeed later, or on another server. The client has
            already retried as `Retry` allows.
        code: name of the gRPC status, such as "INVALID_ARGUMENT".
        pipeline: name of the pipeline.
        server_message: message of the server, or of the failed connection.
        request_id: id of the request, which is also in the server's log.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        pipeline: str | None = None,
        server_message: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.pipeline = pipeline
        self.server_message = server_message
        self.request_id = request_id


class InvalidInput(BoxwiseError):
    """The input is invalid; the same request will fail again."""


class InvalidImage(InvalidInput):
    """The image is invalid: not an image, corrupt, or too large."""


class InvalidArgument(InvalidInput):
    """An argument is out of range or has the wrong type."""


class UnknownPipeline(BoxwiseError):
    """The server has no pipeline of this name."""


class ContractMismatch(BoxwiseError):
    """Server and client use different versions of the tensor contract."""


class AccessDenied(BoxwiseError):
    """The server does not accept these credentials: key, token or client certificate.

    It is never retried.
    """


class Unavailable(BoxwiseError):
    """No server responds at this address, or it is shutting down."""

    retryable = True


class Overloaded(BoxwiseError):
    """A queue of the server is full. The client does not retry: that would add to the load."""

    retryable = True


class StageFailed(BoxwiseError):
    """A stage of the pipeline died. This server needs a restart; another server may respond."""

    retryable = True


class DeadlineExceeded(BoxwiseError):
    """No response came within `timeout_s`."""

    retryable = True


class Cancelled(BoxwiseError):
    """The call was cancelled, or its client was closed."""


class ServerError(BoxwiseError):
    """Any other error of the server."""


CANCELLED_HERE = "cancelled by this client"

# gRPC status, pattern of its message -> error class, sentence. The first match counts.
# The patterns distinguish causes that share a status (boxwise_contract/refusals.py).
_CAUSES: tuple[tuple[str, re.Pattern[str] | None, type[BoxwiseError], str], ...] = (
    ("INVALID_ARGUMENT", refusals.INVALID_IMAGE, InvalidImage, "{message}"),
    ("INVALID_ARGUMENT", None, InvalidArgument, "{message}"),
    ("OUT_OF_RANGE", None, InvalidArgument, "{message}"),
    # Of a model that the server knows: it is unloading its models, because it is shutting down.
    (
        "NOT_FOUND",
        refusals.STOPPING,
        Unavailable,
        "the server at {url} is not available: {message}",
    ),
    (
        "NOT_FOUND",
        None,
        UnknownPipeline,
        "the server at {url} has no pipeline {pipeline!r}: {message}",
    ),
    (
        "UNAVAILABLE",
        refusals.RESTRICTED,
        AccessDenied,
        "{url} does not accept this client: {message}",
    ),
    ("UNAUTHENTICATED", None, AccessDenied, "{url} does not accept this client: {message}"),
    ("PERMISSION_DENIED", None, AccessDenied, "{url} does not accept this client: {message}"),
    (
        "UNAVAILABLE",
        refusals.NOT_READY,
        UnknownPipeline,
        "{url} does not serve pipeline {pipeline!r}: {message}",
    ),
    (
        "UNAVAILABLE",
        refusals.OVERLOADED,
        Overloaded,
        "the server at {url} is overloaded: {message}",
    ),
    ("RESOURCE_EXHAUSTED", None, Overloaded, "the server at {url} is overloaded: {message}"),
    ("UNAVAILABLE", None, Unavailable, "the server at {url} is not available: {message}"),
    (
        "INTERNAL",
        refusals.STAGE_DIED,
        StageFailed,
        "a stage of pipeline {pipeline!r} at {url} died: {message}",
    ),
    (
        "DEADLINE_EXCEEDED",
        None,
        DeadlineExceeded,
        "pipeline {pipeline!r} at {url} did not respond within {timeout_s:.3g} s (timeout_s)",
    ),
    (
        "CANCELLED",
        re.compile(f"^{CANCELLED_HERE}"),
        Cancelled,
        "the call to pipeline {pipeline!r} at {url} was cancelled",
    ),
    # The server is shutting down.
    ("CANCELLED", None, Unavailable, "the server at {url} ended the call: {message}"),
    ("", None, ServerError, "pipeline {pipeline!r} at {url} failed with {code}: {message}"),
)

# Triton names the ensemble of a failed stage, which the caller knows.
_ENSEMBLE_PREFIX = re.compile(r"^(in ensemble '[^']*', )+")


def from_status(
    code: str,
    details: str | None,
    *,
    pipeline: str,
    url: str,
    timeout_s: float,
    request_id: str | None = None,
) -> BoxwiseError:
    """Return the error of a gRPC status.

    Args:
        code: name of the status, such as "NOT_FOUND".
        details: its message.
        pipeline: name of the pipeline.
        url: address of the server.
        timeout_s: deadline of the request in seconds.
        request_id: id of the request.
    """
    server_message = _ENSEMBLE_PREFIX.sub("", details or "") or "no reason given"
    kind, sentence = next(
        (kind, sentence)
        for of_code, pattern, kind, sentence in _CAUSES
        if of_code in (code, "") and (pattern is None or pattern.search(server_message))
    )
    text = sentence.format(
        message=server_message, url=url, pipeline=pipeline, code=code, timeout_s=timeout_s
    )
    return kind(
        text, code=code, pipeline=pipeline, server_message=server_message, request_id=request_id
    )
