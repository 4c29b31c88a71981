"""Whose turn it is, among the processes of a model, to take the next request from Triton.

Triton gives requests to its processes in the order in which they asked for one, and nobody can take back that he asked.
So a process that is busy asks only while no other is idle, and while none is likely to be sooner: of those where nobody
waits that is the one which began first, and where somebody waits those with the fewest.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Load(NamedTuple):
    """What one process has to do.

    Attributes:
        since_ns: when it began the oldest of its requests (`time.monotonic_ns`); 0 while a worker of it is idle.
        waiting: requests in its line.
    """

    since_ns: int = 0
    waiting: int = 0


_RECORD = struct.Struct("<qq")


def may_take(own: Load, others: Sequence[Load]) -> bool:
    """Whether a process should ask for another request now, by what all have to do."""
    if not own.since_ns:
        return True
    if any(not each.since_ns for each in others):
        return False
    least = min((each.waiting for each in others), default=own.waiting)
    if own.waiting or least:
        return own.waiting <= 2 * least  # not the fewest alone: lines fill up in a few rounds, and are full together
    return all(own.since_ns < each.since_ns for each in others if not each.waiting)


class Turns:
    """What the processes of a model say to each other, each in its place of a file that they share.

    Args:
        file: in /dev/shm; made where there is none.
        place: of this process, from 0.
        count: of the processes.
    """

    def __init__(self, file: Path, place: int, count: int) -> None:
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, count * _RECORD.size)
            self._shared = mmap.mmap(descriptor, count * _RECORD.size)
        finally:
            os.close(descriptor)
        self._place, self._count = place, count
        self.say(Load())

    def say(self, own: Load) -> None:
        """Let the others know what this process has to do."""
        self._own = own
        _RECORD.pack_into(self._shared, self._place * _RECORD.size, *own)

    @property
    def mine(self) -> bool:
        """Whether this process should ask for a request now."""
        return may_take(self._own, self._others())

    @property
    def another_is_idle(self) -> bool:
        """Whether a request that comes now finds another process that has time."""
        return any(not each.since_ns for each in self._others())

    def _others(self) -> list[Load]:
        loads = [Load(*each) for each in _RECORD.iter_unpack(self._shared[:])]
        return loads[: self._place] + loads[self._place + 1 :]
