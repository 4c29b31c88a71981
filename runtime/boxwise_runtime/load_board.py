"""Whose turn it is, among the processes of a model, to take the next request from Triton.

Triton gives requests to its processes in the order in which they asked for one, and nobody can take
back that he asked. So a process that is busy asks only while no other is idle, and while none is
likely to be sooner: of those where nobody waits that is the one which began first, and where
somebody waits those with the fewest.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Load(NamedTuple):
    """What one process has to do.

    Attributes:
        since_ns: when it began the oldest of its requests (`time.monotonic_ns`); 0 while a worker
            of it is idle.
        waiting: requests in its line.
    """

    since_ns: int = 0
    waiting: int = 0


_RECORD = struct.Struct("<qq")
SHM = Path("/dev/shm")  # noqa: S108
_LIST_EVERY_S = 1.0  # what lies there: other versions of a model come and go


def may_take(own: Load, others: Sequence[Load]) -> bool:
    """Whether a process should ask for another request now, by what all have to do."""
    if not own.since_ns:
        return True
    if any(not each.since_ns for each in others):
        return False
    least = min((each.waiting for each in others), default=own.waiting)
    if own.waiting or least:
        # Not the fewest alone: lines fill up in a few rounds, and are full together.
        return own.waiting <= 2 * least
    return all(own.since_ns < each.since_ns for each in others if not each.waiting)


def load_file(prefix: str, model: str, version: str, folder: Path = SHM) -> Path:
    """Where the processes of a model say it: a file of the server, whose files in /dev/shm begin
    with `prefix`.
    """
    return folder / f"{prefix}turns-{model}-{version}"


class LoadBoard:
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
        self.publish(Load())

    def publish(self, own: Load) -> None:
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
        loads = _loads(self._shared)
        return loads[: self._place] + loads[self._place + 1 :]


class Downstream:
    """The models that work next on what a process answers, by what their own processes say to each
    other.

    Args:
        prefix: of the server's files in /dev/shm.
        models: their names in the repository; a server may have each in several versions, under
            names of their own.
        folder: instead of /dev/shm.
    """

    def __init__(self, prefix: str, models: Iterable[str], folder: Path = SHM) -> None:
        names = "|".join(map(re.escape, models))
        self._name = (
            re.compile(load_file(re.escape(prefix), rf"({names})(\.\w+)?", r"\d+").name)
            if names
            else None
        )
        self._folder = folder
        self._files: dict[Path, mmap.mmap] = {}
        self._listed = 0.0

    @property
    def busy(self) -> bool:
        """Whether no process of one of them is idle."""
        if self._name and time.monotonic() - self._listed >= _LIST_EVERY_S:
            self._listed = time.monotonic()
            found = [file for file in self._folder.iterdir() if self._name.fullmatch(file.name)]
            opened = {file: self._files.get(file) or _read_only(file) for file in found}
            self._files = {file: shared for file, shared in opened.items() if shared}
        return any(all(each.since_ns for each in _loads(file)) for file in self._files.values())


def _loads(shared: mmap.mmap) -> list[Load]:
    return [Load(*each) for each in _RECORD.iter_unpack(shared[:])]


def _read_only(file: Path) -> mmap.mmap | None:
    """None where it is empty yet, or gone."""
    try:
        with file.open("rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
