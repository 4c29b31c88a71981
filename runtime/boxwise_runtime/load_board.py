"""Which process of a model takes the next request from Triton.

Triton gives requests to its processes in the order in which they asked, and a process cannot
withdraw. So the processes publish their load in a shared file, and a busy process asks only if no
other is idle and none is likely to be free sooner. Without queues, that is the process whose
request started first; with queues, those with the shortest.
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
    """The load of one process.

    Attributes:
        since_ns: when its oldest request in flight started (`time.monotonic_ns`); 0 while one of
            its workers is idle.
        waiting: queued requests.
    """

    since_ns: int = 0
    waiting: int = 0


_RECORD = struct.Struct("<qq")
SHM = Path("/dev/shm")  # noqa: S108
_LIST_EVERY_S = 1.0  # the files there: versions of a model come and go


def may_take(own: Load, others: Sequence[Load]) -> bool:
    """Return whether a process should ask for another request now, given the load of all."""
    if not own.since_ns:
        return True
    if any(not each.since_ns for each in others):
        return False
    least = min((each.waiting for each in others), default=own.waiting)
    if own.waiting or least:
        # Not only the shortest queue: queues fill up within a few rounds, and then all are full.
        return own.waiting <= 2 * least
    return all(own.since_ns < each.since_ns for each in others if not each.waiting)


def load_file(prefix: str, model: str, version: str, folder: Path = SHM) -> Path:
    """The file in which the processes of a model publish their load; the names of all files of one
    server begin with `prefix`.
    """
    return folder / f"{prefix}load-{model}-{version}"


class LoadBoard:
    """The load of each process of a model, in a file that they share.

    Args:
        file: in /dev/shm; created if missing.
        place: index of this process.
        count: number of processes.
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
        """Publish the load of this process."""
        self._own = own
        _RECORD.pack_into(self._shared, self._place * _RECORD.size, *own)

    @property
    def mine(self) -> bool:
        """Whether this process should ask for a request now."""
        return may_take(self._own, self._others())

    @property
    def another_is_idle(self) -> bool:
        """Whether another process is idle."""
        return any(not each.since_ns for each in self._others())

    def _others(self) -> list[Load]:
        loads = _loads(self._shared)
        return loads[: self._place] + loads[self._place + 1 :]


class Downstream:
    """The load of the models that continue with a stage's outputs.

    Args:
        prefix: of the server's files in /dev/shm.
        models: their names in the repository; a server may load several versions of each, under
            names of its own.
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
        """Whether one of them has no idle process."""
        if self._name and time.monotonic() - self._listed >= _LIST_EVERY_S:
            self._listed = time.monotonic()
            found = [file for file in self._folder.iterdir() if self._name.fullmatch(file.name)]
            opened = {file: self._files.get(file) or _read_only(file) for file in found}
            self._files = {file: shared for file, shared in opened.items() if shared}
        return any(all(each.since_ns for each in _loads(file)) for file in self._files.values())


def _loads(shared: mmap.mmap) -> list[Load]:
    return [Load(*each) for each in _RECORD.iter_unpack(shared[:])]


def _read_only(file: Path) -> mmap.mmap | None:
    """Map a file; None if it is still empty, or gone."""
    try:
        with file.open("rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
