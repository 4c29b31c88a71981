"""A minimal gRPC server: it counts the bytes of a request, and returns the same objects every time.

A real server, grpcio's included, takes more CPU per request than the measured clients, and would
hide their cost on a few cores. So this one parses only the heads of frames, and allows any window.
"""

from __future__ import annotations

import multiprocessing
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from boxwise._protocol import messages

OBJECTS = 5
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_PREFACE_BYTES = 24
_MAX_FRAME = 2**22  # as in Triton 2.51 and grpcio 1.85
_WINDOW = 2**31 - 1
_REFILL_BYTES = 2**24
_HEADS_BYTES = 4096  # of a read at the start of a frame: the heads of a call, little of its body
# Linux: TCP counts the bytes without copying them, and returns once.
_DROP = socket.MSG_TRUNC | socket.MSG_WAITALL


@contextmanager
def null_server() -> Iterator[str]:
    """Serve in a process of its own, and yield HOST:PORT."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def _serve(link: multiprocessing.connection.Connection) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    link.send(listener.getsockname()[1])
    message = _message()
    response = (
        _literal(b"\x88", (b"content-type", b"application/grpc")),
        b"\0" + struct.pack(">I", len(message)) + message,
        _literal(b"", (b"grpc-status", b"0")),
    )
    while True:
        threading.Thread(target=_talk, args=(listener.accept()[0], response), daemon=True).start()


def _talk(client: socket.socket, response: tuple[bytes, bytes, bytes]) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    settings = struct.pack(">HIHIHI", 3, 1000, 4, _WINDOW, 5, _MAX_FRAME)
    client.sendall(_frame(_SETTINGS, 0, 0, settings) + _window_update(_WINDOW - 65_535))
    headers, message, trailers = response
    buffer = bytearray(2**20)
    view = memoryview(buffer)
    have, taken = 0, 0  # bytes in the buffer; bytes of bodies since the last window update
    start = _PREFACE_BYTES  # of the next frame, perhaps beyond the buffer
    ends = 0  # the stream that ends with the skipped frame
    # The rest of a body is discarded in the kernel: a copy would take CPU time from the clients.
    while got := (
        client.recv_into(view, min(start - have, len(view)), _DROP)
        if start > have
        else client.recv_into(view[have:], _HEADS_BYTES)
    ):
        have += got
        output = []
        while start <= have:
            if ends:
                output.append(_frame(_HEADERS, _END_HEADERS, ends, headers))
                output.append(_frame(_DATA, 0, ends, message))
                output.append(_frame(_HEADERS, _END_HEADERS | _END_STREAM, ends, trailers))
                ends = 0
            if have - start < 9:
                break
            length, kind, flags = (
                int.from_bytes(buffer[start : start + 3]),
                buffer[start + 3],
                buffer[start + 4],
            )
            if kind == _DATA:
                taken += length
                ends = int.from_bytes(buffer[start + 5 : start + 9]) if flags & _END_STREAM else 0
            elif kind == _SETTINGS and not flags & _ACK:
                output.append(_frame(_SETTINGS, _ACK, 0))
            elif kind == _PING and not flags & _ACK and have - start >= 17:
                output.append(_frame(_PING, _ACK, 0, bytes(buffer[start + 9 : start + 17])))
            start += 9 + length
        if taken > _REFILL_BYTES:
            output.append(_window_update(taken))
            taken = 0
        if output:
            client.sendall(b"".join(output))
        rest = bytes(buffer[start:have])  # an incomplete head of a frame, or nothing
        buffer[: len(rest)] = rest
        have, start = len(rest), max(0, start - have)


def _message() -> bytes:
    reply = messages().ModelInferResponse(model_name="boxwise", model_version="1")
    outputs = {
        "boxes": np.tile(np.array([10, 20, 30, 40], np.float32), (OBJECTS, 1)),
        "scores": np.linspace(0.9, 0.5, OBJECTS, dtype=np.float32),
        "class_ids": np.zeros(OBJECTS, np.int32),
        "image_size": np.array([1080, 1920], np.int32),
    }
    for name, array in outputs.items():
        reply.outputs.add(
            name=name, datatype="FP32" if array.dtype == np.float32 else "INT32", shape=array.shape
        )
        reply.raw_output_contents.append(array.tobytes())
    return bytes(reply.SerializeToString())


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def _window_update(size: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", size))


def _literal(before: bytes, field: tuple[bytes, bytes]) -> bytes:
    return before + b"\x10" + b"".join(bytes((len(each),)) + each for each in field)
