"""What can go wrong, one class per cause, and the one table from gRPC's status codes to them.

BoxwiseError
├── InvalidInput        what was given cannot be used; the same request will fail again
│   ├── InvalidImage        the image
│   └── InvalidArgument     an argument, a threshold or an address
├── UnknownPipeline     the server has no pipeline of this name
├── ContractMismatch    the server speaks another version of the tensor contract than this client
├── AccessDenied        the server wants other credentials, or none of ours
├── Unavailable         no server answers at this address, or it is going away
├── Overloaded          the server takes no more requests now: a queue is full
├── StageFailed         a stage of the pipeline died; its server needs a restart
├── DeadlineExceeded    no answer within `timeout_s`
├── Cancelled           the call was cancelled, or its client was closed
└── ServerError         everything else that the server reports
"""

from __future__ import annotations

import re
from typing import ClassVar

from boxwise_contract import refusals


class BoxwiseError(Exception):
    """Base of all errors of this package; `str(error)` is a sentence for a person.

    Attributes:
        retryable: the same request may succeed later, or on another server. (The client has by then
            tried again itself where `Retry` says so.)
        code: the gRPC status by name, such as "INVALID_ARGUMENT"; None where no server was asked.
        pipeline: the pipeline that was asked for; None where no server was asked.
        server_message: what the server, or the connection in its place, said; None where no server
            was asked.
        request_id: the id that the request was sent with; None where no server was asked.
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
    """What was given cannot be used; the same request will fail again."""


class InvalidImage(InvalidInput):
    """The image cannot be read, decoded or served: not an image, corrupt, too large."""


class InvalidArgument(InvalidInput):
    """An argument is out of range or of another kind."""


class UnknownPipeline(BoxwiseError):
    """The server has no pipeline of this name."""


class ContractMismatch(BoxwiseError):
    """The server speaks another version of the tensor contract than this client."""


class AccessDenied(BoxwiseError):
    """The server wants other credentials: a restricted protocol, a token, a client certificate.
    Never retried.
    """


class Unavailable(BoxwiseError):
    """No server answers at this address, or it is going away."""

    retryable = True


class Overloaded(BoxwiseError):
    """The server takes no more requests now: a queue is full. Not tried again by the client, which
    would add to it.
    """

    retryable = True


class StageFailed(BoxwiseError):
    """A stage of the pipeline died; this server answers nothing more until it is restarted, another
    may.
    """

    retryable = True


class DeadlineExceeded(BoxwiseError):
    """The answer did not come within `timeout_s`."""

    retryable = True


class Cancelled(BoxwiseError):
    """The call was cancelled, or its client was closed."""


class ServerError(BoxwiseError):
    """Everything else that the server reports."""


CANCELLED_HERE = "cancelled by this client"

# gRPC status, what its message says -> the error, its sentence. The first that fits is taken.
# The words tell apart what is one status (boxwise_contract/refusals.py).
_CAUSES: tuple[tuple[str, re.Pattern[str] | None, type[BoxwiseError], str], ...] = (
    ("INVALID_ARGUMENT", refusals.INVALID_IMAGE, InvalidImage, "{said}"),
    ("INVALID_ARGUMENT", None, InvalidArgument, "{said}"),
    ("OUT_OF_RANGE", None, InvalidArgument, "{said}"),
    # Of a model that it knows: it is unloading it, and stops.
    (
        "NOT_FOUND",
        refusals.STOPPING,
        Unavailable,
        "the server at {url} is not available: {said}",
    ),
    (
        "NOT_FOUND",
        None,
        UnknownPipeline,
        "the server at {url} has no pipeline {pipeline!r}: {said}",
    ),
    (
        "UNAVAILABLE",
        refusals.RESTRICTED,
        AccessDenied,
        "{url} does not let this client in: {said}",
    ),
    ("UNAUTHENTICATED", None, AccessDenied, "{url} does not let this client in: {said}"),
    ("PERMISSION_DENIED", None, AccessDenied, "{url} does not let this client in: {said}"),
    (
        "UNAVAILABLE",
        refusals.NOT_READY,
        UnknownPipeline,
        "{url} does not serve pipeline {pipeline!r}: {said}",
    ),
    (
        "UNAVAILABLE",
        refusals.OVERLOADED,
        Overloaded,
        "the server at {url} is overloaded: {said}",
    ),
    ("RESOURCE_EXHAUSTED", None, Overloaded, "the server at {url} is overloaded: {said}"),
    ("UNAVAILABLE", None, Unavailable, "the server at {url} is not available: {said}"),
    (
        "INTERNAL",
        refusals.STAGE_DIED,
        StageFailed,
        "a stage of pipeline {pipeline!r} at {url} died: {said}",
    ),
    (
        "DEADLINE_EXCEEDED",
        None,
        DeadlineExceeded,
        "pipeline {pipeline!r} at {url} did not answer within {timeout_s:.3g} s (timeout_s)",
    ),
    (
        "CANCELLED",
        re.compile(f"^{CANCELLED_HERE}"),
        Cancelled,
        "the call to pipeline {pipeline!r} at {url} was cancelled",
    ),
    (
        "CANCELLED",
        None,
        Unavailable,
        "the server at {url} ended the call: {said}",
    ),  # when it shuts down
    ("", None, ServerError, "pipeline {pipeline!r} at {url} failed with {code}: {said}"),
)

# Triton says which ensemble a failed stage belongs to; the caller knows.
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
    """The error that a gRPC status stands for.

    Args:
        code: the status by name, such as "NOT_FOUND".
        details: the message that came with it.
        pipeline: what was asked for.
        url: who was asked.
        timeout_s: the deadline it was asked with, in seconds.
        request_id: the id that it was sent with.
    """
    said = _ENSEMBLE_PREFIX.sub("", details or "") or "no reason given"
    kind, sentence = next(
        (kind, sentence)
        for of_code, words, kind, sentence in _CAUSES
        if of_code in (code, "") and (words is None or words.search(said))
    )
    message = sentence.format(said=said, url=url, pipeline=pipeline, code=code, timeout_s=timeout_s)
    return kind(message, code=code, pipeline=pipeline, server_message=said, request_id=request_id)
