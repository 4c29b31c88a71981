"""Frames in shared memory, for a server on the same machine: it reads them where we wrote them.

Each slot is a file in /dev/shm that this process holds a lock on. The kernel drops the lock when
the process dies, kill
-9 included, so that whoever comes next can tell a slot that nobody owns from one in use, in
whatever container, and removes the former alone. (`multiprocessing.shared_memory` removes what it
merely attached to: cpython#82300.)
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import secrets
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from boxwise._http2 import Buffer

FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux
PREFIX = "boxwise-slot-"
_GRAIN = 2**20  # sizes are rounded up: images that differ a little share slots


class Slot:
    """One file of shared memory, ours until closed.

    Attributes:
        name: in /dev/shm, and as the server knows it.
        size: bytes that it holds.
        registered: the server was told of it.
    """

    def __init__(self, size: int) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        self.size = -(-size // _GRAIN) * _GRAIN
        self.registered = False
        # Made without a name and locked before it has one: nobody can meet it unlocked.
        self._file = os.open(FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A full /dev/shm is an error here, not a SIGBUS later.
            os.posix_fallocate(self._file, 0, self.size)
            self._memory = mmap.mmap(self._file, self.size)
            # With a folder's descriptor, though the path is absolute: only then does Python follow
            # the link.
            os.link(
                f"/proc/self/fd/{self._file}",
                FOLDER / self.name,
                src_dir_fd=self._file,
                follow_symlinks=True,
            )
        except BaseException:
            os.close(self._file)
            raise
        # At the end of the program at the latest, for those who do not close their client.
        self._end = weakref.finalize(self, _remove, FOLDER / self.name, self._file, os.getpid())

    @property
    def key(self) -> str:
        """What `shm_open` knows it by."""
        return f"/{self.name}"

    def write(self, payload: Buffer) -> None:
        """Copy a frame into it."""
        view = memoryview(payload)
        self._memory[: view.nbytes] = view

    def close(self) -> None:
        """Give it back; a process that merely inherited it by a fork leaves it to its owner."""
        self._end()
        self._memory.close()


def _remove(path: Path, file: int, owner: int) -> None:
    if os.getpid() == owner:
        path.unlink(missing_ok=True)
    os.close(file)


class Slots:
    """The slots of one server: as many as there are frames in flight."""

    def __init__(self) -> None:
        self._free: list[Slot] = []
        self._all: list[Slot] = []
        self._lock = threading.Lock()
        self.swept = False
        self.refused = False

    def take(self, size: int) -> tuple[Slot, Slot | None]:
        """A slot of so many bytes at least, and one that it replaces, which the server is to
        forget.

        Raises:
            OSError: there is no /dev/shm, or it is full.
        """
        with self._lock:
            for slot in self._free:
                if slot.size >= size:
                    self._free.remove(slot)
                    return slot, None
            old = self._free.pop() if self._free else None
            if old is not None:
                self._all.remove(old)
        try:
            slot = Slot(size)
        finally:
            if old is not None:
                old.close()
        with self._lock:
            self._all.append(slot)
        return slot, old

    def give(self, slot: Slot) -> None:
        """Take a slot back after its call."""
        with self._lock:
            if slot in self._all:
                self._free.append(slot)
            else:
                slot.close()

    def close(self) -> list[Slot]:
        """Give back all slots that are not in use, and the others when their calls end; what the
        server knew.
        """
        with self._lock:
            known = [slot for slot in self._all if slot.registered]
            for slot in self._free:
                slot.close()
            self._all, self._free = [], []
        return known


@contextlib.contextmanager
def orphans() -> Iterator[list[str]]:
    """The names of slots whose process is dead; they are removed at the end of the block."""
    held: list[tuple[Path, int]] = []
    try:
        for path in FOLDER.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # somebody else's, or just gone
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(file)
                    continue
                held.append((path, file))
        yield [path.name for path, _ in held]
        for path, _ in held:
            path.unlink(missing_ok=True)
    finally:
        for _, file in held:
            os.close(file)
