"""Why a server refuses a request, and the words by which a client tells the reasons apart.

A full queue, a restricted protocol and a stopping server are all UNAVAILABLE in gRPC, and a dead
stage is INTERNAL: only their messages differ. `tests/e2e/test_sdk_causes.py` asks a real server for
each of them.
"""

from __future__ import annotations

import re

REASONS = ("empty", "format", "size", "corrupt", "option")
"""The kinds of invalid input; `boxwise_refusals_total` counts by them."""


class InvalidInput(ValueError):
    """The request is wrong: its message names the input, what was expected and what came.

    Triton returns it as INVALID_ARGUMENT; no other request is affected.

    Attributes:
        reason: its kind, one of `REASONS`.
    """

    def __init__(self, message: str, reason: str = "option") -> None:
        super().__init__(message)
        self.reason = reason


_QUEUE, _FIX = "the queue ", ": send fewer at once, or try again"


def queue_full(max_queue: int) -> str:
    """The message of a request that finds the queue full."""
    return f"{_QUEUE}is full (max_queue {max_queue}){_FIX}"


def queue_slow(max_wait_ms: int) -> str:
    """The message of a request that would be queued for too long."""
    return f"{_QUEUE}takes too long (max_wait_ms {max_wait_ms}){_FIX}"


def is_queue_refusal(message: str) -> bool:
    """Whether this is one of the two messages above, of whatever limit."""
    return message.startswith(_QUEUE) and message.endswith(_FIX)


# Ours (above) and Triton's own.
OVERLOADED = re.compile(r"\(max_(queue|wait_ms) |maximum queue size")
RESTRICTED = re.compile(r"is restricted, expecting header")
STOPPING = re.compile(r"has no available versions")  # the server unloads a model that it knows
NOT_READY = re.compile(r"is not at ready state")
STAGE_DIED = re.compile(r"is not healthy")
INVALID_IMAGE = re.compile(r"^(image|frame):")
