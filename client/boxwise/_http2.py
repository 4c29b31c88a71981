"""HTTP/2 (RFC 9113) as unary gRPC calls need it, without I/O.

    open(), reset() ─▶ output(): buffers to send        bytes of the server ─▶ receive() ─▶ streams

grpcio spends 0.3 ms of CPU on a call before the first byte of an image, partly on a queue between
threads, and copies the image twice. Here an image is not copied: DATA frames are slices of the
caller's buffer.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import hpack

Buffer: TypeAlias = "bytes | bytearray | memoryview"

# Frame types (section 6), flags, settings (6.5.2) and error codes (7), as far as a client needs
# them.
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
_END_STREAM = _ACK = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_TABLE_SIZE, _ENABLE_PUSH, _MAX_STREAMS, _INITIAL_WINDOW, _MAX_FRAME = 1, 2, 3, 4, 5
CANCEL, REFUSED_STREAM = 8, 7

_HEAD = struct.Struct(">IBI")  # of a frame: 24 bits of length, 8 of type; flags; stream
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_OUR_MAX_FRAME = 2**20
_MAX_FRAME_LIMITS = 2**14, 2**24 - 1
_UNLIMITED = 2**31  # streams, if the server's SETTINGS set no limit
_LARGEST_HEADERS = 2**16  # of a response: a status, a message and some metadata

# A response has a few KB; a thousand boxes with a dozen classifiers have less than one MB.
MAX_REPLY_BYTES = 2**29


class ProtocolError(Exception):
    """The server violates HTTP/2, so the connection cannot be used further."""


@dataclass(slots=True, eq=False)
class Stream:
    """One call: the unsent rest of its body, and its response so far.

    Attributes:
        id: odd number of the stream.
        window: bytes that the server currently accepts on this stream.
        unsent: buffers to send, none of them empty.
        headers: of the response, and its trailers, by name; later ones replace earlier ones.
        body: of the response.
        reset: error code if the server reset the stream; REFUSED_STREAM if it did not process it.
    """

    id: int
    window: int
    unsent: deque[Buffer]
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    reset: int | None = None


class Http2:
    """The client's side of one connection."""

    def __init__(self) -> None:
        settings = {
            _TABLE_SIZE: 0,
            _ENABLE_PUSH: 0,
            _INITIAL_WINDOW: _LARGEST_WINDOW,
            _MAX_FRAME: _OUR_MAX_FRAME,
        }
        self._output: list[Buffer] = [
            _PREFACE,
            _frame(
                _SETTINGS, 0, 0, b"".join(struct.pack(">HI", *each) for each in settings.items())
            ),
            _window_update(_LARGEST_WINDOW - _DEFAULT_WINDOW),
        ]
        self._input = b""
        self._streams: dict[int, Stream] = {}
        self._ended: list[Stream] = []
        self._next_id = 1
        self._window = _DEFAULT_WINDOW  # bytes that the server accepts over all streams
        self._unacknowledged = 0  # received bytes not yet returned to the server's window
        self._initial_window = _DEFAULT_WINDOW
        self._max_frame, _ = _MAX_FRAME_LIMITS
        self._max_streams: int | None = None
        self._going_away = False
        self._header_block: tuple[int, int, bytes] | None = None  # stream, flags, fragments
        # Without a dynamic table, equal blocks have equal headers, and servers repeat theirs.
        self._decoder = hpack.Decoder(max_header_list_size=_LARGEST_HEADERS)
        self._decoded: dict[bytes, dict[str, str]] = {}

    @property
    def usable(self) -> bool:
        """Whether a call can be opened on this connection, now or when another has ended."""
        return not self._going_away and self._next_id < _LARGEST_WINDOW

    @property
    def limit(self) -> int | None:
        """The server's limit of concurrent calls; None before its first SETTINGS frame."""
        return self._max_streams

    @property
    def free(self) -> int:
        """How many calls can be opened now; 0 before the server's SETTINGS."""
        return (self._max_streams or 0) - len(self._streams)

    @property
    def streams(self) -> Sequence[Stream]:
        """The calls in flight."""
        return tuple(self._streams.values())

    def open(self, headers: bytes, body: Iterable[Buffer]) -> Stream:
        """Start a call with encoded headers and a body, which must not change until it is sent."""
        stream = Stream(self._next_id, self._initial_window, deque(filter(None, body)))
        self._next_id += 2
        self._streams[stream.id] = stream
        kind = _HEADERS
        while len(headers) > self._max_frame:
            self._output.append(_frame(kind, 0, stream.id, headers[: self._max_frame]))
            kind, headers = _CONTINUATION, headers[self._max_frame :]
        self._output.append(_frame(kind, _END_HEADERS, stream.id, headers))
        self._output += self._data(stream)
        return stream

    def reset(self, stream: Stream) -> None:
        """Cancel a call; the rest of its response is discarded."""
        if self._streams.pop(stream.id, None):
            self._output.append(_frame(_RST_STREAM, 0, stream.id, struct.pack(">I", CANCEL)))

    def output(self) -> list[Buffer]:
        """Return the buffers to send next, in order, each once."""
        output, self._output = self._output, []
        return output

    def receive(self, data: bytes) -> list[Stream]:
        """Process bytes of the server, and return the calls that ended.

        Raises:
            ProtocolError: they are not HTTP/2.
        """
        data = self._input + data if self._input else data
        position, end = 0, len(data)
        while (start := position + _HEAD.size) <= end:
            length_and_kind, flags, stream_id = _HEAD.unpack_from(data, position)
            length, kind = length_and_kind >> 8, length_and_kind & 0xFF
            if length > _OUR_MAX_FRAME:
                raise ProtocolError(f"expected HTTP/2, got {data[position : position + 40]!r}")
            if start + length > end:
                break
            position = start + length
            try:
                self._handle(kind, flags, stream_id & _LARGEST_WINDOW, data[start:position])
            except (struct.error, IndexError, hpack.HPACKError) as error:
                raise ProtocolError(f"a broken HTTP/2 frame of type {kind} ({error})") from error
        self._input = data[position:]
        ended, self._ended = self._ended, []
        return ended

    def _handle(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._header_block and kind != _CONTINUATION:
            raise ProtocolError("a header block was interrupted")
        if kind == _DATA:
            self._take_data(flags, stream_id, payload)
        elif kind == _HEADERS:
            payload = _unpadded(flags, payload)
            self._take_headers(flags, stream_id, payload[5:] if flags & _PRIORITY else payload)
        elif kind == _CONTINUATION:
            if self._header_block is None or self._header_block[0] != stream_id:
                raise ProtocolError("a CONTINUATION frame without HEADERS")
            _, first_flags, fragments = self._header_block
            self._take_headers(first_flags | flags, stream_id, fragments + payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._take_settings(payload)
        elif kind == _PING and not flags & _ACK:
            self._output.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            self._widen(stream_id, struct.unpack(">I", payload)[0] & _LARGEST_WINDOW)
        elif kind == _RST_STREAM:
            if stream := self._streams.get(stream_id):
                (stream.reset,) = struct.unpack(">I", payload)
                self._end(stream)
        elif kind == _GOAWAY:
            self._going_away = True
            last = struct.unpack_from(">I", payload)[0] & _LARGEST_WINDOW
            for stream in self.streams:
                if stream.id > last:
                    stream.reset = REFUSED_STREAM
                    self._end(stream)

    def _take_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._unacknowledged += len(payload)
        if self._unacknowledged > _LARGEST_WINDOW // 4:
            self._output.append(_window_update(self._unacknowledged))
            self._unacknowledged = 0
        if stream := self._streams.get(stream_id):
            stream.body += _unpadded(flags, payload)
            if len(stream.body) > MAX_REPLY_BYTES:
                raise ProtocolError(f"a response of more than {MAX_REPLY_BYTES >> 20} MiB")
            if flags & _END_STREAM:
                self._end(stream)

    def _take_headers(self, flags: int, stream_id: int, block: bytes) -> None:
        if len(block) > _LARGEST_HEADERS:
            raise ProtocolError(f"headers of more than {_LARGEST_HEADERS >> 10} KiB")
        if not flags & _END_HEADERS:
            self._header_block = (stream_id, flags, block)
            return
        self._header_block = None
        headers = self._decode(block)
        if stream := self._streams.get(stream_id):
            stream.headers |= headers
            if flags & _END_STREAM:
                self._end(stream)

    def _decode(self, block: bytes) -> dict[str, str]:
        headers = self._decoded.get(block)
        if headers is None:
            # Other bytes than UTF-8 are legal (RFC 9110, 5.5), but not in headers that are read
            # here.
            headers = {
                str(name, "utf-8", "replace"): str(value, "utf-8", "replace")
                for name, value in self._decoder.decode(block, raw=True)
            }
            if not self._decoder.header_table.dynamic_entries and len(self._decoded) < 64:
                self._decoded[block] = headers
        return headers

    def _take_settings(self, payload: bytes) -> None:
        if self._max_streams is None:
            self._max_streams = _UNLIMITED
        for number, value in struct.iter_unpack(">HI", payload):
            if number == _INITIAL_WINDOW:
                if value > _LARGEST_WINDOW:
                    raise ProtocolError(
                        f"an initial window of {value} bytes: expected at most {_LARGEST_WINDOW}"
                    )
                for stream in self._streams.values():
                    stream.window += value - self._initial_window
                self._initial_window = value
            elif number == _MAX_FRAME:
                least, most = _MAX_FRAME_LIMITS
                if not least <= value <= most:
                    raise ProtocolError(
                        f"a largest frame of {value} bytes: expected {least} to {most}"
                    )
                self._max_frame = value
            elif number == _MAX_STREAMS:
                self._max_streams = value
        self._output.append(_frame(_SETTINGS, _ACK, 0, b""))
        self._widen(0, 0)

    def _widen(self, stream_id: int, size: int) -> None:
        """Enlarge a window of the server, and send what it held back."""
        if stream_id == 0:
            self._window += size
            streams = self.streams
        elif stream := self._streams.get(stream_id):
            stream.window += size
            streams = (stream,)
        else:
            return
        for stream in streams:
            if stream.unsent:
                self._output += self._data(stream)

    def _data(self, stream: Stream) -> list[Buffer]:
        """Return DATA frames of as much of the body as the server's windows allow."""
        unsent, largest = stream.unsent, self._max_frame
        total = sum(map(len, unsent))
        sending = min(total, self._window, stream.window)
        if sending <= 0:
            return []
        self._window -= sending
        stream.window -= sending
        if sending == total <= largest:  # all in one frame, as nearly always
            frames = [_frame_head(sending, _DATA, _END_STREAM, stream.id), *unsent]
            unsent.clear()
            return frames
        full = _frame_head(largest, _DATA, 0, stream.id)
        frames = []
        ahead, room = sending, 0  # bytes not in a frame yet; free bytes of the last frame
        while ahead:
            piece = memoryview(unsent.popleft())
            length, at = len(piece), 0
            while at < length and ahead:
                if room == 0:
                    room = min(ahead, largest)
                    last = ahead == room and sending == total
                    frames.append(
                        full
                        if room == largest and not last
                        else _frame_head(room, _DATA, last, stream.id)
                    )
                end = min(length, at + room)
                frames.append(piece[at:end])
                room -= end - at
                ahead -= end - at
                at = end
            if at < length:
                unsent.appendleft(piece[at:])
        return frames

    def _end(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self._ended.append(stream)
        # The server responded before it had read all: cancel the rest.
        if stream.unsent and stream.reset is None:
            self._output.append(_frame(_RST_STREAM, 0, stream.id, struct.pack(">I", CANCEL)))


def _frame_head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    return _HEAD.pack(length << 8 | kind, flags, stream_id)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return _frame_head(len(payload), kind, flags, stream_id) + payload


def _window_update(size: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", size))


def _unpadded(flags: int, payload: bytes) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
