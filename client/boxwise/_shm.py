"""Slots: files of shared memory, from which a server on the same machine reads frames.

This process holds a lock on each of its slots in /dev/shm. The kernel releases it when the process
dies, even by SIGKILL. So other processes, in other containers too, can tell orphaned slots from
those in use, and remove them. `multiprocessing.shared_memory` also removes what it only attached
to: cpython#82300.
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

FOLDER = Path("/dev/shm")  # noqa: S108 - POSIX shared memory on Linux
PREFIX = "boxwise-slot-"
_GRAIN = 2**20  # sizes are rounded up to it, so that similar images can use one slot


class Slot:
    """One file of shared memory, locked until it is closed.

    Attributes:
        name: of the file in /dev/shm, and of the region on the server.
        size: in bytes.
        registered: whether the server has registered it.
    """

    def __init__(self, size: int) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        self.size = -(-size // _GRAIN) * _GRAIN
        self.registered = False
        # Created without a name, so that it is locked before others can find it.
        self._file = os.open(FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Reports a full /dev/shm now; without it, a write would raise SIGBUS.
            os.posix_fallocate(self._file, 0, self.size)
            self._memory = mmap.mmap(self._file, self.size)
            # Python follows the link only if it is given a folder's descriptor, used or not.
            os.link(
                f"/proc/self/fd/{self._file}",
                FOLDER / self.name,
                src_dir_fd=self._file,
                follow_symlinks=True,
            )
        except BaseException:
            os.close(self._file)
            raise
        # Runs at the end of the program if the client was not closed.
        self._end = weakref.finalize(self, _remove, FOLDER / self.name, self._file, os.getpid())

    @property
    def key(self) -> str:
        """The name for `shm_open`."""
        return f"/{self.name}"

    def write(self, payload: Buffer) -> None:
        """Copy a frame into the slot."""
        view = memoryview(payload)
        self._memory[: view.nbytes] = view

    def close(self) -> None:
        """Remove it; a process that inherited it by a fork leaves the file to its owner."""
        self._end()
        self._memory.close()


def _remove(path: Path, file: int, owner: int) -> None:
    if os.getpid() == owner:
        path.unlink(missing_ok=True)
    os.close(file)


class Slots:
    """The slots for one server, one per frame in flight."""

    def __init__(self) -> None:
        self._free: list[Slot] = []
        self._all: list[Slot] = []
        self._lock = threading.Lock()
        self.swept = False
        self.refused = False

    def take(self, size: int) -> tuple[Slot, Slot | None]:
        """Return a slot of at least `size` bytes, and the slot that it replaces, to be
        unregistered.

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
        """Return a slot after its call."""
        with self._lock:
            if slot in self._all:
                self._free.append(slot)
            else:
                slot.close()

    def close(self) -> list[Slot]:
        """Remove the free slots now and the others after their calls; return registered ones."""
        with self._lock:
            registered = [slot for slot in self._all if slot.registered]
            for slot in self._free:
                slot.close()
            self._all, self._free = [], []
        return registered


@contextlib.contextmanager
def orphans() -> Iterator[list[str]]:
    """Yield the names of slots whose process is dead; the block's end removes them."""
    held: list[tuple[Path, int]] = []
    try:
        for path in FOLDER.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # of another user, or just removed
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
