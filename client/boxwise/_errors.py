"""What can go wrong, one class per cause, and the one table from gRPC's status codes to them.

BoxwiseError
├── InvalidInput        the picture or an argument can not be used; the same request will fail again
├── UnknownPipeline     the server has no pipeline of this name
├── ContractMismatch    the server speaks another version of the tensor contract than this client
├── Unavailable         no server answers at this address, or it takes no more requests now
├── DeadlineExceeded    no answer within `timeout_s`
└── ServerError         everything else that the server reports, a stage that broke among it
"""

from __future__ import annotations

import re


class BoxwiseError(Exception):
    """Base of all errors of this package; `str(error)` is a sentence for a person.

    Attributes:
        code: the gRPC status by name, such as "INVALID_ARGUMENT"; None where no server was asked.
        pipeline: the pipeline that was asked for; None where no server was asked.
        server_message: what the server, or gRPC in its place, said; None where no server was asked.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        pipeline: str | None = None,
        server_message: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.pipeline = pipeline
        self.server_message = server_message


class InvalidInput(BoxwiseError):
    """The picture or an argument can not be used; the same request will fail again."""


class UnknownPipeline(BoxwiseError):
    """The server has no pipeline of this name."""


class ContractMismatch(BoxwiseError):
    """The server speaks another version of the tensor contract than this client."""


class Unavailable(BoxwiseError):
    """No server answers at this address, or it takes no more requests now."""


class DeadlineExceeded(BoxwiseError):
    """The answer did not come within `timeout_s`."""


class ServerError(BoxwiseError):
    """Everything else that the server reports, a stage that broke among it."""


# gRPC status -> (the error, its sentence)
_BY_CODE: dict[str, tuple[type[BoxwiseError], str]] = {
    "INVALID_ARGUMENT": (InvalidInput, "{said}"),
    "NOT_FOUND": (UnknownPipeline, "the server at {url} has no pipeline {pipeline!r}: {said}"),
    "UNAVAILABLE": (Unavailable, "the server at {url} is not available: {said}"),
    "DEADLINE_EXCEEDED": (
        DeadlineExceeded,
        "pipeline {pipeline!r} at {url} did not answer within {timeout_s:.3g} s (timeout_s)",
    ),
}
_ELSE = (ServerError, "pipeline {pipeline!r} at {url} failed with {code}: {said}")

# Triton says which ensemble a failed stage belongs to; the caller knows.
_ENSEMBLE_PREFIX = re.compile(r"^(in ensemble '[^']*', )+")
# gRPC says which addresses it tried, at length; its last words say why.
_CONNECT_PREFIX = re.compile(r"^failed to connect to all addresses;.*: ")


def from_status(code: str, details: str | None, *, pipeline: str, url: str, timeout_s: float) -> BoxwiseError:
    """The error that a gRPC status stands for.

    Args:
        code: the status by name, such as "NOT_FOUND".
        details: the message that came with it.
        pipeline: what was asked for.
        url: who was asked.
        timeout_s: the deadline it was asked with, in seconds.
    """
    said = _ENSEMBLE_PREFIX.sub("", details or "") or "no reason given"
    kind, sentence = _BY_CODE.get(code, _ELSE)
    message = sentence.format(
        said=_CONNECT_PREFIX.sub("", said), url=url, pipeline=pipeline, code=code, timeout_s=timeout_s
    )
    return kind(message, code=code, pipeline=pipeline, server_message=said)
