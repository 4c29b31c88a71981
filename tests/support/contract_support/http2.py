"""Pieces of HTTP/2 that no client or server would send, or not in this order, and a server that
sends them.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import hpack
import numpy as np

from boxwise._protocol import INFER, messages

SERVICE = INFER.removesuffix("ModelInfer")
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_LARGEST_WINDOW = 2**31 - 1


def frame(
    kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None
) -> bytes:
    """One frame of HTTP/2 (RFC 9113, 4.1), which says `length` of itself where that is given."""
    size = len(payload) if length is None else length
    return struct.pack(">IBI", (size % 2**24) << 8 | kind, flags, stream % 2**32) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame."""
    numbers = {"max_streams": 3, "window": 4, "max_frame": 5}
    return frame(
        SETTINGS,
        0,
        0,
        b"".join(struct.pack(">HI", numbers[name], each) for name, each in values.items()),
    )


def headers(
    *pairs: tuple[str, str], flags: int = 4, stream: int = 1, encoder: hpack.Encoder | None = None
) -> bytes:
    """A HEADERS frame; with `flags` 5 it ends the stream."""
    return frame(HEADERS, flags, stream, (encoder or hpack.Encoder()).encode(pairs))


def answer(stream: int = 1, message: bytes = b"reply") -> bytes:
    """The frames of a gRPC response."""
    begin = headers((":status", "200"), ("content-type", "application/grpc"), stream=stream)
    body = frame(DATA, 0, stream, b"\0" + struct.pack(">I", len(message)) + message)
    return begin + body + headers(("grpc-status", "0"), flags=5, stream=stream)


def reset(stream: int, error: int) -> bytes:
    return frame(RST, 0, stream, struct.pack(">I", error))


def goaway(last: int) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, 0))


def nothing_found() -> bytes:
    """What a pipeline without classifiers replies for an image without objects."""
    found = {
        "boxes": np.empty((0, 4), np.float32),
        "scores": np.empty(0, np.float32),
        "class_ids": np.empty(0, np.int32),
        "image_size": np.array([64, 64], np.int32),
    }
    reply = messages().ModelInferResponse(model_name="boxwise", model_version="1")
    for name, array in found.items():
        reply.outputs.add(
            name=name, datatype={"f": "FP32", "i": "INT32"}[array.dtype.kind], shape=array.shape
        )
        reply.raw_output_contents.append(array.tobytes())
    return bytes(reply.SerializeToString())


@dataclass(frozen=True)
class Asked:
    """A call that has come in whole.

    Attributes:
        number: of all calls, from 0.
        nth: of its connection's calls, from 0.
        stream: its id.
        link: to say something later.
    """

    number: int
    nth: int
    stream: int
    link: Link


class Link:
    """One connection of a `ScriptedHttp2`."""

    def __init__(self, accepted: socket.socket) -> None:
        self._socket = accepted
        self._lock = threading.Lock()
        self.begun = 0  # streams
        self.open = 0  # of those, not yet ended by `send`
        self.most = 0  # at once
        self.early = 0  # begun before this server's SETTINGS
        self.settled = False

    def begin(self) -> None:
        """Count a call."""
        with self._lock:
            self.begun += 1
            self.open += 1
            self.most = max(self.most, self.open)
            self.early += not self.settled

    def send(self, data: bytes, ends: int = 0) -> None:
        """Send frames, by which so many calls end."""
        with self._lock:
            self.open -= ends
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def settle(self, **values: int) -> None:
        """Send SETTINGS: windows without end, and these."""
        self.settled = True
        window = frame(WINDOW, 0, 0, struct.pack(">I", _LARGEST_WINDOW - 65_535))
        self.send(settings(**{"window": _LARGEST_WINDOW} | values) + window)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class ScriptedHttp2:
    """Listens on loopback and sends what a test wants.

    Args:
        respond: called with each call; what it returns is sent, and ends the call. None: it says
            something later.
        greet: called with each connection, before anything was read.
    """

    def __init__(
        self, respond: Callable[[Asked], bytes | None], greet: Callable[[Link], None] = Link.settle
    ) -> None:
        self._respond = respond
        self._greet = greet
        self._lock = threading.Lock()
        self.links: list[Link] = []
        self.calls = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        for link in self.links:
            link.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted = self._listener.accept()[0]
                link = Link(accepted)
                self.links.append(link)
                self._greet(link)
                threading.Thread(target=self._talk, args=(accepted, link), daemon=True).start()

    def _talk(self, accepted: socket.socket, link: Link) -> None:
        with contextlib.suppress(OSError), accepted.makefile("rb") as reader:
            reader.read(24)  # the preface
            while head := reader.read(9):
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
                reader.read(int.from_bytes(head[:3]))
                if kind == HEADERS:
                    link.begin()
                if kind in (DATA, HEADERS) and flags & 1:
                    with self._lock:
                        number, self.calls = self.calls, self.calls + 1
                    said = self._respond(Asked(number, link.begun - 1, stream, link))
                    if said is not None:
                        link.send(said, ends=1)
