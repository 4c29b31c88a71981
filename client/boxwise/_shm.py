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
from concurrent.futures import Future
from pathlib import Path

from boxwise._errors import BoxwiseError
from boxwise._http2 import Buffer

FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux
PREFIX = "boxwise-slot-"
_GRAIN = 2**20  # sizes are rounded up: images that differ a little share slots


class Slot:
    """One file of shared memory, ours until closed.

    Attributes:
        name: in /dev/shm, and as the server knows it.
        size: bytes that it holds.
        registered: the server has it.
        told: a future from when the server was told of it until it has forgotten it, done once the
            server has responded; None where the server cannot have it.
    """

    def __init__(self, size: int) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        self.size = -(-size // _GRAIN) * _GRAIN
        self.registered = False
        # A list, which the finalizer sees too.
        self._told: list[Future[BoxwiseError | None]] = []
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
        self._end = weakref.finalize(
            self, _remove, FOLDER / self.name, self._file, os.getpid(), self._told
        )

    @property
    def told(self) -> Future[BoxwiseError | None] | None:
        return self._told[0] if self._told else None

    @told.setter
    def told(self, future: Future[BoxwiseError | None] | None) -> None:
        self._told[:] = [] if future is None else [future]

    @property
    def key(self) -> str:
        """What `shm_open` knows it by."""
        return f"/{self.name}"

    def write(self, payload: Buffer) -> None:
        """Copy a frame into it."""
        view = memoryview(payload)
        self._memory[: view.nbytes] = view

    def close(self) -> None:
        """Give it back; a process that merely inherited it by a fork leaves it to its owner.

        Where the server may have it still, its name stays: whoever sweeps next finds it without a
        lock, and lets the server forget it. Without a name, the server would keep it for ever.
        """
        self._end()
        self._memory.close()


def _remove(path: Path, file: int, owner: int, told: list[Future[BoxwiseError | None]]) -> None:
    if os.getpid() == owner and not told:
        path.unlink(missing_ok=True)
    os.close(file)


class Slots:
    """The slots of one server: as many as there are frames in flight."""

    def __init__(self) -> None:
        self._free: list[Slot] = []
        self._all: list[Slot] = []
        self._closed = False
        self._lock = threading.Lock()
        self.swept = False
        self.refused = False

    def take(self, size: int) -> tuple[Slot, Slot | None]:
        """A slot of so many bytes at least, and one that it replaces, for the caller to close.

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
        except OSError:
            if old is not None:
                old.close()
            raise
        with self._lock:
            self._all.append(slot)
        return slot, old

    def give(self, slot: Slot) -> None:
        """Take a slot back after its call."""
        with self._lock:
            if slot in self._all and not self._closed:
                self._free.append(slot)
            else:
                slot.close()

    def known(self) -> list[Slot]:
        """The slots that the server may have."""
        with self._lock:
            return [slot for slot in self._all if slot.told]

    def close(self) -> None:
        """Give back all slots that are not in use, and the others when their calls end."""
        with self._lock:
            self._closed = True
            for slot in self._free:
                slot.close()
            self._all, self._free = [], []


@contextlib.contextmanager
def orphans() -> Iterator[list[str]]:
    """The names of slots that nobody owns; those still in the list at the end of the block are
    removed.
    """
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
        names = [path.name for path, _ in held]
        yield names
        for path, _ in held:
            if path.name in names:
                path.unlink(missing_ok=True)
    finally:
        for _, file in held:
            os.close(file)
