"""HTTP/2 (RFC 9113) as unary gRPC calls need it, without I/O: the server's bytes go in, buffers to
send come out.

grpcio spends 0.3 ms of CPU on a call before the first byte of an image, a thread's queue and its
locks among it, and copies the image twice. Here an image is never copied: its DATA frames are
slices of the caller's own buffer.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import hpack

Buffer: TypeAlias = "bytes | bytearray | memoryview"

# Frame types (section 6), flags, settings (6.5.2) and error codes (7), those that a client meets.
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

_HEAD = struct.Struct(">IBI")  # of a frame: 24 bits of length and 8 of type, flags, stream
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_OUR_MAX_FRAME = 2**20
_MAX_FRAME_LIMITS = 2**14, 2**24 - 1
_UNLIMITED = 2**31  # streams, where the server's SETTINGS set no limit
_LARGEST_HEADERS = 2**16  # of a reply: a status, a sentence and some metadata

# A reply is a few KB; a thousand boxes with a dozen classifiers are less than one MB.
MAX_REPLY_BYTES = 2**29


class ProtocolError(Exception):
    """The other side does not speak HTTP/2, or breaks its rules; the connection is of no use any
    more.
    """


@dataclass(slots=True, eq=False)
class Stream:
    """One call: what is still to be sent of it, and what has come of its answer.

    Attributes:
        headers: of the reply, then its trailers, by name; a later one wins.
        body: of the reply.
        reset: the error code that the server ended it with, if it did; REFUSED_STREAM where it
            never looked at it.
    """

    id: int
    window: int
    unsent: deque[Buffer]  # none of them empty
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
        self._window = _DEFAULT_WINDOW  # what the server lets us send, over all streams
        self._unacknowledged = 0  # bytes of replies that its window was not yet given back
        self._initial_window = _DEFAULT_WINDOW
        self._max_frame, _ = _MAX_FRAME_LIMITS
        self._max_streams: int | None = None
        self._going_away = False
        self._header_block: tuple[int, int, bytes] | None = None  # stream, flags, fragments
        # We ask for no table. A block that was read without one always means the same, and servers
        # repeat themselves.
        self._decoder = hpack.Decoder(max_header_list_size=_LARGEST_HEADERS)
        self._decoded: dict[bytes, dict[str, str]] = {}

    @property
    def usable(self) -> bool:
        """Whether a new call may be sent on this connection, now or when another has ended."""
        return not self._going_away and self._next_id < _LARGEST_WINDOW

    @property
    def limit(self) -> int | None:
        """How many concurrent calls the server allows; None until its first SETTINGS frame."""
        return self._max_streams

    @property
    def free(self) -> int:
        """How many calls may be opened now; none before the server's SETTINGS."""
        return (self._max_streams or 0) - len(self._streams)

    @property
    def streams(self) -> Sequence[Stream]:
        """The calls under way."""
        return tuple(self._streams.values())

    def open(self, headers: bytes, body: Iterable[Buffer]) -> Stream:
        """Begin a call: an encoded block of headers, and a body that must not change until it is
        sent.
        """
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
        """Give a call up; what still comes of it is dropped."""
        if self._streams.pop(stream.id, None):
            self._output.append(_frame(_RST_STREAM, 0, stream.id, struct.pack(">I", CANCEL)))

    def output(self) -> list[Buffer]:
        """The buffers to send next, in order; each is said once."""
        output, self._output = self._output, []
        return output

    def receive(self, data: bytes) -> list[Stream]:
        """Take what the server sent; the calls that ended with it.

        Raises:
            ProtocolError: it is not HTTP/2.
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
            raise ProtocolError("a block of headers was interrupted")
        if kind == _DATA:
            self._take_data(flags, stream_id, payload)
        elif kind == _HEADERS:
            payload = _unpadded(flags, payload)
            self._take_headers(flags, stream_id, payload[5:] if flags & _PRIORITY else payload)
        elif kind == _CONTINUATION:
            if self._header_block is None or self._header_block[0] != stream_id:
                raise ProtocolError("a continuation of nothing")
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
                raise ProtocolError(f"a reply of more than {MAX_REPLY_BYTES >> 20} MiB")
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
            # Bytes that are not UTF-8 are legal (RFC 9110, 5.5), and no header that is read here
            # has any.
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
        """The server takes more: send what waited for it."""
        if stream_id == 0:
            self._window += size
            waiting = self.streams
        elif stream := self._streams.get(stream_id):
            stream.window += size
            waiting = (stream,)
        else:
            return
        for stream in waiting:
            if stream.unsent:
                self._output += self._data(stream)

    def _data(self, stream: Stream) -> list[Buffer]:
        """DATA frames of as much of a body as the server's windows let through."""
        unsent, largest = stream.unsent, self._max_frame
        total = sum(map(len, unsent))
        sending = min(total, self._window, stream.window)
        if sending <= 0:
            return []
        self._window -= sending
        stream.window -= sending
        if sending == total <= largest:  # all in one frame, as nearly always: nothing to cut
            frames = [_frame_head(sending, _DATA, _END_STREAM, stream.id), *unsent]
            unsent.clear()
            return frames
        full = _frame_head(largest, _DATA, 0, stream.id)
        frames = []
        ahead, room = sending, 0  # what is not yet in a frame, and what the last frame still holds
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
        # Answered before it had heard all: say that no more comes.
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
