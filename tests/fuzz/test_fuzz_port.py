"""Bytes straight at the server's ports: no message of protobuf, no frame of HTTP/2, no request of
HTTP/1.1.

A connection is answered or closed within its deadline, whatever came; the next good request, on
another, is answered as before.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import zlib
from pathlib import Path

import grpc
import pytest
from contract_support.attacked import GOOD, PIPELINES, Attacked
from contract_support.fuzzing import DEADLINE_S, call, fuzz, image_request, refused, wraps_around
from contract_support.http2 import SERVICE, frame
from contract_support.mutations import ODD, other_bytes
from contract_support.trials import Trial
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from boxwise._grpc import framed, header, header_block, timeout_header
from boxwise._http2 import Http2
from boxwise._protocol import INFER

PATIENCE_S = 0.1  # then no more is sent, and the server has to see that
GOOD_MESSAGES = [image_request(each, GOOD).SerializeToString() for each in PIPELINES]
READING = (
    "ServerLive",
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "Nothing",
)
(
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION,
) = range(10)
NO_MESSAGE = (
    "INTERNAL",
    "UNIMPLEMENTED",
    "UNAVAILABLE",
    "NOT_FOUND",
)  # of methods that are asked nothing of an image
# What Triton 2.51 says 500 to: bytes that are no JSON, and JSON of other types than it expects.
OF_TRITON_OVER_HTTP = (
    b"the request JSON buffer",
    b"attempt to access JSON",
    b"attempt to get members",
    b"Unable to parse",
)


@pytest.mark.timeout(0)
def test_messages_that_are_not_of_protobuf(trial: Trial, target: Attacked, tmp_path: Path) -> None:
    def make(rng: random.Random) -> tuple[bytes, object]:
        message = rng.choice(
            (*GOOD_MESSAGES, *GOOD_MESSAGES, rng.randbytes(rng.choice((0, 1, 10, 1000))))
        )
        # Where the names and shapes are; the image's own bytes have a fuzzer of theirs.
        head = message[:120]
        for _ in range(rng.choice((1, 1, 2, 4))):
            head = other_bytes(rng, head, GOOD_MESSAGES)
        return head + message[120:], rng.choice(
            (INFER, INFER, INFER, SERVICE + rng.choice(READING))
        )

    def send(channel: grpc.Channel, message: bytes, about: object) -> str:
        try:
            if wraps_around(pb.ModelInferRequest.FromString(message)):
                return "left out"
        except DecodeError:
            pass
        reply = call(channel, message, str(about))
        if reply.status == "OK":
            return "answered"
        if about != INFER and reply.status in NO_MESSAGE:
            return f"refused, {reply.status}"
        return refused(reply)

    fuzz(trial, target, tmp_path, trial.of(short=2_000, long=100_000), make, send)


@pytest.mark.timeout(0)
def test_bytes_at_the_grpc_port(trial: Trial, target: Attacked, tmp_path: Path) -> None:
    address = ("127.0.0.1", target.server.options.grpc_port)
    fuzz(
        trial,
        target,
        tmp_path,
        trial.of(short=1_500, long=40_000),
        lambda rng: (rng.choice(OF_HTTP2)(rng), None),
        lambda channel, case, about: said(address, case)[0],
    )


@pytest.mark.timeout(0)
def test_bytes_at_the_http_ports(trial: Trial, target: Attacked, tmp_path: Path) -> None:
    options = target.server.options

    def send(channel: grpc.Channel, case: bytes, about: object) -> str:
        port = options.http_port if about else options.metrics_port
        what, reply = said(("127.0.0.1", port), case)
        status = reply[9:12].decode("latin-1") if reply.startswith(b"HTTP/1.") else ""
        assert not status.startswith("5") or any(words in reply for words in OF_TRITON_OVER_HTTP), (
            reply[:500]
        )
        return f"HTTP {status}" if status else what

    fuzz(
        trial,
        target,
        tmp_path,
        trial.of(short=1_500, long=40_000),
        lambda rng: (rng.choice(OF_HTTP1)(rng), rng.random() < 0.9),
        send,
    )


def said(address: tuple[str, int], case: bytes) -> tuple[str, bytes]:
    """Send, hear what is said, say that no more comes; the connection then has to end."""
    reply = b""
    with socket.create_connection(address, timeout=DEADLINE_S) as connection:
        try:
            connection.sendall(case)
            connection.settimeout(PATIENCE_S)
            try:
                while more := connection.recv(65536):
                    reply += more
            except TimeoutError:
                connection.settimeout(DEADLINE_S)
                connection.shutdown(socket.SHUT_WR)
                while more := connection.recv(65536):
                    reply += more
                return "answered" if reply else "closed once all was said", reply
        except (ConnectionResetError, BrokenPipeError):
            return "reset", reply
    return "answered and closed" if reply else "closed", reply


def conversation(
    message: bytes, *more: bytes, seconds: float = 2, body: bytes | None = None
) -> bytes:
    """What a client sends for one call, all windows being wide enough."""
    http2 = Http2()
    headers = header_block(INFER, "localhost", "http") + timeout_header(seconds) + b"".join(more)
    http2.open(headers, framed([message]) if body is None else [body])
    return b"".join(bytes(each) for each in http2.output())


def any_bytes(rng: random.Random) -> bytes:
    return rng.choice(
        (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01")
    ) + rng.randbytes(rng.choice((0, 1, 9, 100, 10_000)))


def changed_conversation(rng: random.Random) -> bytes:
    said = conversation(rng.choice(GOOD_MESSAGES))
    start = rng.choice((0, 24))
    head = said[start:400]
    for _ in range(rng.choice((1, 1, 2, 5))):
        head = other_bytes(rng, head, [said])
    return said[:start] + head + said[400:]


def any_frames(rng: random.Random) -> bytes:
    said = conversation(GOOD_MESSAGES[0]) if rng.random() < 0.5 else conversation(b"")[:60]
    for _ in range(rng.randint(1, 20)):
        payload = rng.randbytes(rng.choice((0, 4, 5, 6, 8, 100)))
        lying = rng.choice((None, None, None, 0, 3, 16_385, 2**24 - 1))
        said += frame(
            rng.randrange(12),
            rng.randrange(256),
            rng.choice((0, 1, 1, 2, 3, 2**31 - 1, 2**32 - 1)),
            payload,
            lying,
        )
    return said


def many_frames(rng: random.Random) -> bytes:
    said, stream = conversation(GOOD_MESSAGES[0]), 3
    kind = rng.choice((PING, SETTINGS, RST_STREAM, WINDOW_UPDATE, CONTINUATION, DATA, PRIORITY))
    payload = {
        PING: bytes(8),
        SETTINGS: b"",
        RST_STREAM: bytes(4),
        WINDOW_UPDATE: b"\0\0\0\1",
        PRIORITY: bytes(5),
    }
    for _ in range(rng.choice((20, 500))):
        if kind == RST_STREAM:
            block = header_block(INFER, "localhost", "http")
            said += frame(HEADERS, 4, stream, block)
        said += frame(kind, 0, 0 if kind in (PING, SETTINGS) else stream, payload.get(kind, b"\0"))
        stream += 2 * (kind == RST_STREAM)
    return said


def bodies(rng: random.Random) -> bytes:
    """Lengths that never come, flags of compression,
    messages that are not compressed as they say.
    """
    message = rng.choice(
        (GOOD_MESSAGES[0], b"", rng.randbytes(50), zlib.compress(GOOD_MESSAGES[0]))
    )
    flag = rng.choice((0, 0, 1, 2, 255))
    length = rng.choice((len(message), len(message), len(message) + 1, 0, *ODD))
    encoding = rng.choice(
        (b"", header("grpc-encoding", rng.choice(("gzip", "deflate", "identity", "nonsense", ""))))
    )
    times = rng.choice((1, 1, 2, 3))
    return conversation(b"", encoding, body=(struct.pack(">BI", flag, length) + message) * times)


def odd_headers(rng: random.Random) -> bytes:
    names = (
        "grpc-timeout",
        "te",
        "content-type",
        ":path",
        ":method",
        "content-length",
        "x" * 500,
        "Upper",
        "",
        "grpc-encoding",
    )
    values = (
        "",
        "1",
        "-1",
        "99999999H",
        "1n",
        "application/json",
        "é" * 20,
        "x" * 9000,
        "\0",
        "\r\n",
    )
    more = [
        header_unchecked(rng.choice(names), rng.choice(values)) for _ in range(rng.randint(1, 40))
    ]
    return conversation(GOOD_MESSAGES[0], *more)


def header_unchecked(name: str, value: str) -> bytes:
    encoded = [each.encode() for each in (name, value)]
    if any(len(each) > 126 for each in encoded):
        return header(name or "x", value)
    return b"\x10" + b"".join(bytes([len(each)]) + each for each in encoded)


OF_HTTP2 = (
    any_bytes,
    changed_conversation,
    changed_conversation,
    any_frames,
    many_frames,
    bodies,
    bodies,
    odd_headers,
)


def http1(rng: random.Random, path: str, body: bytes, *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if rng.random() < 0.8:
        lines.append(f"Content-Length: {rng.choice((len(body), len(body), len(body), *ODD))}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def infer_body(rng: random.Random) -> bytes:
    """A request as JSON, with anything in it."""
    odd = rng.choice((None, -1, 2**70, 1e400, "", "x" * 1000, [], {}, [[[[]]]], True, "\0"))
    tensor = {"name": "image", "datatype": "UINT8", "shape": [len(GOOD)], "data": list(GOOD)}
    request: dict[str, object] = {"inputs": [tensor]}
    place = rng.choice((tensor, tensor, request))
    place[
        rng.choice(("name", "datatype", "shape", "data", "parameters", "inputs", "outputs", "id"))
    ] = odd
    text = json.dumps(request).encode()
    return other_bytes(rng, text, [text]) if rng.random() < 0.3 else text


def json_requests(rng: random.Random) -> bytes:
    model = rng.choice((*PIPELINES, "nope", "dots_nms", "..%2f..", "%00", "x" * 3000))
    return http1(rng, f"/v2/models/{model}/infer", infer_body(rng))


def binary_requests(rng: random.Random) -> bytes:
    text = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "UINT8",
                    "shape": [len(GOOD)],
                    "parameters": {
                        "binary_data_size": rng.choice((len(GOOD), len(GOOD), *ODD, -1, "x"))
                    },
                }
            ]
        }
    ).encode()
    length = rng.choice((len(text), len(text), len(text) + 1, -1, "x", "", *ODD))
    return http1(
        rng, "/v2/models/dots/infer", text + GOOD, f"Inference-Header-Content-Length: {length}"
    )


def nested_requests(rng: random.Random) -> bytes:
    depth = rng.choice((10, 90, 1000))
    return http1(rng, "/v2/models/dots/infer", b'{"inputs":' + b"[" * depth + b"]" * depth + b"}")


def other_requests(rng: random.Random) -> bytes:
    method = rng.choice(("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW", ""))
    path = rng.choice(
        (
            "/",
            "/v2",
            "/v2/health/ready",
            "/metrics",
            "/v2/models/dots/config",
            "/v2/models//infer",
            "*",
            "",
            "/" * 5000,
        )
    )
    odd = rng.choice(
        (
            "Content-Encoding: gzip",
            "Content-Encoding: nonsense",
            "Expect: 100-continue",
            "X: " + "y" * 20_000,
            ":",
        )
    )
    return http1(rng, path, rng.randbytes(rng.choice((0, 50))), odd, method=method)


def chunked_requests(rng: random.Random) -> bytes:
    sizes = rng.choice((b"5", b"0", b"ffffffff", b"-1", b"x", b"7fffffffffffffff"))
    pieces = b"".join(sizes + b"\r\nhello\r\n" for _ in range(rng.randint(0, 20)))
    head = b"POST /v2/models/dots/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + pieces + rng.choice((b"", b"0\r\n\r\n"))


def changed_requests(rng: random.Random) -> bytes:
    request = rng.choice((json_requests, binary_requests, other_requests))(rng)
    return other_bytes(rng, request[:300], [request]) + request[300:]


OF_HTTP1 = (
    any_bytes,
    json_requests,
    binary_requests,
    nested_requests,
    other_requests,
    chunked_requests,
    changed_requests,
)
