"""HTTP/2 without a network: what is sent for a call, and what any bytes of a server do."""

from __future__ import annotations

import struct

import hpack
import pytest
from contract_support.http2 import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    RST,
    SETTINGS,
    WINDOW,
    answer,
    frame,
    headers,
    settings,
)
from hypothesis import given
from hypothesis import strategies as st

from boxwise._grpc import Status, framed, header_block, reply, timeout_header
from boxwise._http2 import Http2, ProtocolError

BLOCK = header_block("/service/Method", "host:1", "http", [("key", "value")])


def sent(http2: Http2) -> list[tuple[int, int, int, bytes]]:
    """Type, flags, stream and payload of each frame, the preface taken off."""
    data = b"".join(http2.output()).removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    frames = []
    while data:
        length, kind, flags, stream = (
            int.from_bytes(data[:3]),
            data[3],
            data[4],
            int.from_bytes(data[5:9]),
        )
        frames.append((kind, flags, stream, data[9 : 9 + length]))
        data = data[9 + length :]
    return frames


def begun(body: bytes = b"", server: bytes = settings()) -> Http2:
    http2 = Http2()
    http2.receive(server)
    http2.output()
    http2.open(BLOCK, framed([body]))
    return http2


def test_a_connection_begins_with_the_preface_and_settings() -> None:
    http2 = Http2()
    assert b"".join(http2.output()).startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert http2.output() == []


def test_a_call_is_its_headers_and_its_body() -> None:
    http2 = begun(b"image")
    (kind, flags, stream, block), *data = sent(http2)
    assert (kind, flags, stream) == (HEADERS, 4, 1)
    assert dict(hpack.Decoder().decode(block)) == {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/service/Method",
        ":authority": "host:1",
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "boxwise-python",
        "grpc-accept-encoding": "identity",
        "key": "value",
    }
    assert b"".join(payload for *_, payload in data) == b"\0\0\0\0\5image"
    assert [flags for _, flags, _, _ in data] == [1]


@given(
    st.integers(0, 70_000),
    st.integers(16_384, 20_000) | st.just(2**24 - 1),
    st.integers(0, 40_000),
    st.lists(st.integers(1, 20_000), max_size=10),
)
def test_a_body_arrives_whole_and_within_every_window(
    size: int, max_frame: int, window: int, updates: list[int]
) -> None:
    body = (bytes(range(251)) * 280)[:size]
    http2 = begun(
        body,
        settings(max_frame=max_frame, window=window)
        + frame(WINDOW, 0, 0, struct.pack(">I", 100_000)),
    )
    allowed, arrived, last = window, b"", 0
    for update in [*updates, 100_000]:
        for kind, flags, _, payload in sent(http2):
            if kind == DATA:
                assert len(payload) <= max_frame
                arrived, last = arrived + payload, flags
        assert len(arrived) <= allowed
        allowed += update
        http2.receive(frame(WINDOW, 0, 1, struct.pack(">I", update)))
    for _, flags, _, payload in sent(http2):
        arrived, last = arrived + payload, flags
    assert arrived == b"\0" + struct.pack(">I", len(body)) + body
    assert last == 1


def test_the_window_of_the_connection_holds_all_calls_back() -> None:
    http2 = begun(bytes(40_000), settings(window=2**31 - 1))
    http2.open(BLOCK, framed([bytes(40_000)]))
    assert sum(len(payload) for kind, _, _, payload in sent(http2) if kind == DATA) == 65_535
    http2.receive(frame(WINDOW, 0, 0, struct.pack(">I", 100_000)))
    assert (
        sum(len(payload) for kind, _, _, payload in sent(http2) if kind == DATA)
        == 2 * 40_005 - 65_535
    )


def test_headers_longer_than_a_frame_go_on_in_continuations() -> None:
    http2 = Http2()
    http2.output()
    http2.open(header_block("/p", "h", "http", [("authorization", "x" * 40_000)]), [])
    frames = sent(http2)
    assert [(kind, flags) for kind, flags, *_ in frames] == [
        (HEADERS, 0),
        (CONTINUATION, 0),
        (CONTINUATION, 4),
    ]
    fields = dict(
        hpack.Decoder(max_header_list_size=10**6).decode(
            b"".join(payload for *_, payload in frames)
        )
    )
    assert fields["authorization"] == "x" * 40_000


@given(st.integers(1, 64))
def test_an_answer_is_read_however_it_is_cut(size: int) -> None:
    http2 = begun(b"image")
    data = answer(message=bytes(range(200)))
    ended = [
        stream for at in range(0, len(data), size) for stream in http2.receive(data[at : at + size])
    ]
    assert [bytes(reply(stream)) for stream in ended] == [bytes(range(200))]
    assert http2.streams == ()


def test_calls_are_answered_in_any_order() -> None:
    http2 = begun()
    second = http2.open(BLOCK, framed([b""]))
    (first_answered,) = http2.receive(answer(stream=3, message=b"second"))
    assert first_answered is second
    (other,) = http2.receive(answer(stream=1, message=b"first"))
    assert bytes(reply(other)) == b"first"


def test_a_server_that_keeps_a_table_of_headers_is_understood() -> None:
    http2, encoder = begun(), hpack.Encoder()
    for number in (1, 3):
        if number > 1:
            http2.open(BLOCK, framed([b""]))
        begin = headers((":status", "200"), ("x", "y"), stream=number, encoder=encoder)
        end = headers(
            ("grpc-status", "5"),
            ("grpc-message", f"no%20{number}"),
            flags=5,
            stream=number,
            encoder=encoder,
        )
        (stream,) = http2.receive(begin + end)
        assert (stream.headers["x"], stream.headers["grpc-message"]) == ("y", f"no%20{number}")


def test_ping_is_answered_and_settings_are_acknowledged() -> None:
    http2 = begun()
    sent(http2)
    http2.receive(frame(PING, 0, 0, b"12345678") + frame(PING, 1, 0, b"12345678") + settings())
    assert sent(http2) == [(PING, 1, 0, b"12345678"), (SETTINGS, 1, 0, b"")]


def test_goaway_ends_the_calls_that_were_not_looked_at() -> None:
    http2 = begun()
    http2.open(BLOCK, framed([b""]))
    (refused,) = http2.receive(frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)))
    assert not http2.usable
    with pytest.raises(Status, match="UNAVAILABLE") as caught:
        reply(refused)
    assert not caught.value.processed
    (answered,) = http2.receive(answer())
    assert bytes(reply(answered)) == b"reply"


@pytest.mark.parametrize(
    ("error", "code", "processed"),
    [
        (7, "UNAVAILABLE", False),
        (8, "CANCELLED", True),
        (2, "INTERNAL", True),
        (11, "RESOURCE_EXHAUSTED", True),
    ],
)
def test_a_reset_has_its_status(error: int, code: str, processed: bool) -> None:
    (stream,) = begun().receive(frame(RST, 0, 1, struct.pack(">I", error)))
    with pytest.raises(Status) as caught:
        reply(stream)
    assert (caught.value.code, caught.value.processed) == (code, processed)


def test_a_call_that_is_given_up_is_reset_and_its_answer_dropped() -> None:
    http2 = begun(bytes(100_000), settings(window=10))
    (stream,) = http2.streams
    sent(http2)
    http2.reset(stream)
    http2.reset(stream)
    assert sent(http2) == [(RST, 0, 1, struct.pack(">I", 8))]
    assert http2.receive(answer()) == []
    assert sent(http2) == []


def test_the_server_s_limit_of_calls_is_known() -> None:
    http2 = begun(server=settings(max_streams=2))
    assert (http2.limit, http2.free) == (2, 1)
    http2.receive(answer())
    assert http2.free == 2
    http2.receive(settings(max_streams=0))
    assert (http2.limit, http2.free) == (0, 0)


def test_no_call_is_free_to_go_before_the_server_s_settings() -> None:
    http2 = Http2()
    assert (http2.limit, http2.free) == (None, 0)
    http2.receive(frame(PING, 0, 0, bytes(8)) + frame(SETTINGS, 1, 0))
    assert http2.free == 0
    http2.receive(settings())
    assert http2.free > 1000


# RFC 9113, 6.5.2: what each setting may be
LARGEST = {4: range(2**31), 5: range(2**14, 2**24)}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),
            st.sampled_from([0, 1, 2**14, 2**24 - 1, 2**31 - 1]) | st.integers(0, 2**32 - 1),
        )
    )
)
def test_settings_are_kept_to_or_refused(pairs: list[tuple[int, int]]) -> None:
    http2 = begun(bytes(60_000))
    data = frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *each) for each in pairs))
    if any(value not in LARGEST.get(number, range(2**32)) for number, value in pairs):
        with pytest.raises(ProtocolError, match=r"expected (at most|16384 to)"):
            http2.receive(data)
        return
    http2.receive(data)
    kept = dict(pairs)
    largest = kept.get(5, 2**14)
    sent(http2)
    http2.open(
        header_block("/p", "h", "http", [("authorization", "x" * 40_000)]), framed([bytes(70_000)])
    )
    assert all(len(payload) <= largest for *_, payload in sent(http2))
    assert http2.free == kept.get(3, 2**31) - 2


@given(st.integers(1, 20), st.integers(0, 45))
def test_goaway_refuses_exactly_the_calls_above_its_last(calls: int, last: int) -> None:
    http2 = begun()
    for _ in range(calls - 1):
        http2.open(BLOCK, framed([b""]))
    ended = http2.receive(frame(GOAWAY, 0, 0, struct.pack(">II", last, 0)))
    assert [stream.id for stream in ended] == [
        number for number in range(1, 2 * calls, 2) if number > last
    ]
    assert [stream.id for stream in http2.streams] == [
        number for number in range(1, 2 * calls, 2) if number <= last
    ]


def test_a_header_that_is_not_utf_8_is_no_reason_to_fail() -> None:
    latin = frame(HEADERS, 4, 1, b"\x88\x10\x01x\x03Z\xfcr")
    body = frame(DATA, 0, 1, b"\0\0\0\0\1a")
    (stream,) = begun().receive(latin + body + headers(("grpc-status", "0"), flags=5))
    assert bytes(reply(stream)) == b"a"
    assert stream.headers["x"] == "Z\N{REPLACEMENT CHARACTER}r"


@pytest.mark.parametrize(
    ("headers_", "code", "details"),
    [
        (
            [("grpc-status", "3"), ("grpc-message", "image%3A%20%E2%9C%97")],
            "INVALID_ARGUMENT",
            "image: ✗",
        ),
        ([("grpc-status", "99")], "UNKNOWN", "grpc-status '99': expected 0 to 16"),
        (
            [("grpc-status", "\N{SUPERSCRIPT TWO}"), ("grpc-message", "hm")],
            "UNKNOWN",
            "expected 0 to 16; hm",
        ),
        ([("grpc-status", "")], "UNKNOWN", "expected 0 to 16"),
        ([("grpc-status", "-1")], "UNKNOWN", "expected 0 to 16"),
        (
            [(":status", "200"), ("content-type", "application/grpc+proto")],
            "UNAVAILABLE",
            "the response ended without grpc-status (HTTP status 200)",
        ),
        ([(":status", "503")], "UNAVAILABLE", "HTTP status 503"),
        ([(":status", "200")], "UNKNOWN", "HTTP status 200"),
        ([(":status", "404")], "UNIMPLEMENTED", "HTTP status 404"),
        (
            [(":status", "200"), ("grpc-status", "0")],
            "INTERNAL",
            "expected one uncompressed message, got 0 bytes",
        ),
    ],
)
def test_a_status_is_raised(headers_: list[tuple[str, str]], code: str, details: str) -> None:
    (stream,) = begun().receive(headers(*headers_, flags=5))
    with pytest.raises(Status) as caught:
        reply(stream)
    assert caught.value.code == code
    assert details in caught.value.details


@pytest.mark.parametrize(
    ("status", "code"),
    [("200", "UNKNOWN"), ("413", "UNKNOWN"), ("502", "UNAVAILABLE"), ("403", "PERMISSION_DENIED")],
)
def test_a_page_is_said_with_its_first_words(status: str, code: str) -> None:
    page = (
        b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\x1b[31m\xff"
        + b"many words " * 1000
    )
    begin = headers((":status", status), ("content-type", "text/html"))
    (stream,) = begun().receive(begin + frame(DATA, 1, 1, page))
    with pytest.raises(Status, match=f"HTTP status {status}: 502 Bad Gateway") as caught:
        reply(stream)
    assert caught.value.code == code
    assert len(caught.value.details) <= 200
    assert "\x1b" not in caught.value.details


@pytest.mark.parametrize(
    ("encoding", "named"), [([("grpc-encoding", "gzip")], "'gzip'"), ([], "'unknown'")]
)
def test_a_compressed_message_is_named(encoding: list[tuple[str, str]], named: str) -> None:
    begin = headers((":status", "200"), ("content-type", "application/grpc"), *encoding)
    body = frame(DATA, 0, 1, b"\1\0\0\0\3abc")
    (stream,) = begun().receive(begin + body + headers(("grpc-status", "0"), flags=5))
    with pytest.raises(
        Status, match=rf"INTERNAL: the response is compressed \(grpc-encoding {named}\)"
    ):
        reply(stream)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        headers((":status", "200"), flags=0) + frame(PING, 0, 0, bytes(8)),
        frame(CONTINUATION, 4, 1),
        frame(SETTINGS, 0, 0, b"12345"),
        frame(WINDOW, 0, 0, b"1"),
        frame(HEADERS, 4, 1, b"\xff\xff\xff"),
        b"".join([frame(HEADERS, 0, 1, bytes(60_000)), frame(CONTINUATION, 0, 1, bytes(60_000))]),
        frame(DATA, 8, 1, b""),
    ],
)
def test_what_is_not_http2_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        begun().receive(data)


def test_a_reply_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxwise._http2.MAX_REPLY_BYTES", 1000)
    http2 = begun()
    for _ in range(10):
        http2.receive(frame(DATA, 0, 1, bytes(100)))
    with pytest.raises(ProtocolError, match="a response of more than"):
        http2.receive(frame(DATA, 0, 1, b"1"))


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_bytes_are_an_answer_or_a_protocol_error(chunks: list[bytes]) -> None:
    http2 = begun(b"image")
    for chunk in chunks:
        try:
            http2.receive(chunk)
        except ProtocolError:
            return


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10),
            st.integers(0, 255),
            st.sampled_from([0, 1, 3]),
            st.binary(max_size=40),
        ),
        max_size=10,
    )
)
def test_any_frames_are_an_answer_or_a_protocol_error(
    frames: list[tuple[int, int, int, bytes]],
) -> None:
    http2 = begun(b"image")
    try:
        for stream in http2.receive(b"".join(frame(*each) for each in frames)):
            try:
                reply(stream)
            except Status:
                continue
    except ProtocolError:
        return


@pytest.mark.parametrize(
    ("seconds", "value"),
    [(0.25, "250000u"), (-1, "1u"), (99.9, "99900000u"), (100.0, "100000m"), (1e9, "99999999m")],
)
def test_the_deadline_is_told_in_eight_digits(seconds: float, value: str) -> None:
    assert hpack.Decoder().decode(timeout_header(seconds)) == [("grpc-timeout", value)]
