"""Pieces of a gRPC call's bytes that no client would send, or not in this order."""

from __future__ import annotations

import struct

from boxwise._protocol import INFER

SERVICE = INFER.removesuffix("ModelInfer")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """One frame of HTTP/2 (RFC 9113, 4.1), which says `length` of itself where that is given."""
    size = len(payload) if length is None else length
    return struct.pack(">IBI", (size % 2**24) << 8 | kind, flags, stream % 2**32) + payload
