"""gRPC on HTTP/2: the headers and body of a call, and the status or message of its response.

The protocol is https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, for unary calls
without compression.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from boxwise._http2 import CANCEL, REFUSED_STREAM, Buffer, Stream

# https://github.com/grpc/grpc/blob/master/doc/statuscodes.md, in the order of their numbers
CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_BY_NUMBER = {str(number): code for number, code in enumerate(CODES)}
# HTTP status, such as a proxy's: doc/http-grpc-status-mapping.md
_OF_HTTP = {
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE",
    "502": "UNAVAILABLE",
    "503": "UNAVAILABLE",
    "504": "UNAVAILABLE",
}
_OF_RESET = {
    CANCEL: "CANCELLED",
    REFUSED_STREAM: "UNAVAILABLE",
    11: "RESOURCE_EXHAUSTED",
    12: "PERMISSION_DENIED",
}

_FIRST_WORDS = 100  # characters of a response without gRPC that an error quotes

_GRPC_TIMEOUT = b"\x10\x0cgrpc-timeout"

MAX_MESSAGE_BYTES = 2**31 - 1  # protobuf's, and Triton's


class Status(Exception):
    """A call failed.

    Attributes:
        code: name of the gRPC status.
        details: message of the server, or the reason of the failed connection.
        local: whether the status is of the connection, not of a server.
        processed: whether the server may have processed the call.
    """

    def __init__(
        self, code: str, details: str, *, local: bool = False, processed: bool = True
    ) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details
        self.local = local
        self.processed = processed

    @property
    def refused(self) -> bool:
        """Whether the server stated that it did not process the call."""
        return not self.local and not self.processed


def header_block(
    path: str, authority: str, scheme: str, metadata: Iterable[tuple[str, str]] = ()
) -> bytes:
    """Return the headers of every call to a method, without the deadline, in HPACK.

    HPACK is RFC 7541; Huffman coding is not used.
    """
    headers = (
        (":method", "POST"),
        (":scheme", scheme),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "boxwise-python"),
        ("grpc-accept-encoding", "identity"),
        *metadata,
    )
    return b"".join(header(name, value) for name, value in headers)


def header(name: str, value: str) -> bytes:
    """Return a header as a literal that is never indexed, because some values are secrets."""
    encoded = name.encode("ascii"), value.encode("utf-8")
    return b"\x10" + b"".join(_hpack_length(len(each)) + each for each in encoded)


def timeout_header(seconds: float) -> bytes:
    """Return `grpc-timeout`, the deadline for the server: at most eight digits and a unit."""
    microseconds = max(1, int(seconds * 1e6))
    value = (
        b"%du" % microseconds
        if microseconds < 10**8
        else b"%dm" % min(microseconds // 1000, 10**8 - 1)
    )
    return b"%b%c%b" % (_GRPC_TIMEOUT, len(value), value)


def framed(message: Sequence[Buffer]) -> list[Buffer]:
    """Return the body of a call: the length of the message, and its pieces.

    Raises:
        Status: the message is longer than protobuf and Triton accept.
    """
    length = sum(map(len, message))
    if length > MAX_MESSAGE_BYTES:
        raise Status(
            "INVALID_ARGUMENT",
            f"image: {length} bytes, more than a message can hold (2 GiB)",
            local=True,
        )
    return [struct.pack(">BI", 0, length), *message]


def reply(stream: Stream) -> memoryview:
    """Return the message of a call that has ended.

    Raises:
        Status: the status is not OK, or the response is not gRPC.
    """
    if stream.reset is not None and "grpc-status" not in stream.headers:
        code = _OF_RESET.get(stream.reset, "INTERNAL")
        raise Status(
            code,
            f"the server ended the call (HTTP/2 error {stream.reset})",
            processed=stream.reset != REFUSED_STREAM,
        )
    number = stream.headers.get("grpc-status")
    if number is None:
        http = stream.headers.get(":status", "none")
        if stream.headers.get("content-type", "").startswith("application/grpc"):
            # Treated as a lost connection: HAProxy up to 2.9.0 sometimes drops trailers (its issue
            # 2388).
            raise Status(
                "UNAVAILABLE", f"the response ended without grpc-status (HTTP status {http})"
            )
        details = f"the response is not gRPC but has HTTP status {http}"
        if words := _first_words(stream.body):
            details += f": {words}"
        raise Status(_OF_HTTP.get(http, "UNKNOWN"), details)
    if number != "0":
        message = unquote(stream.headers.get("grpc-message", ""))
        if number not in _BY_NUMBER:
            raise Status(
                "UNKNOWN", f"grpc-status {number[:20]!r}: expected 0 to {len(CODES) - 1}; {message}"
            )
        raise Status(_BY_NUMBER[number], message)
    body = stream.body
    if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5]) != len(body) - 5:
        if body.startswith(b"\1"):
            encoding = stream.headers.get("grpc-encoding", "unknown")[:20]
            raise Status(
                "INTERNAL",
                f"the response is compressed (grpc-encoding {encoding!r}): expected 'identity'",
            )
        raise Status("INTERNAL", f"expected one uncompressed message, got {len(body)} bytes")
    return memoryview(body)[5:]


def _first_words(body: bytearray) -> str:
    """Return the beginning of a page or a text, without tags and control characters."""
    text = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace"))
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())[:_FIRST_WORDS]


def _hpack_length(length: int) -> bytes:
    """Encode an integer with a prefix of 7 bits (RFC 7541, 5.1)."""
    if length < 0x7F:
        return bytes((length,))
    digits = bytearray((0x7F,))
    length -= 0x7F
    while length > 0x7F:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    digits.append(length)
    return bytes(digits)
