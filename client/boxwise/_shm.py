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
import socket
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

from boxwise._errors import BoxwiseError
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
        registration: the registration on the server, done once the server has responded; None if
            the server cannot have the slot registered.
    """

    def __init__(self, size: int, port: int) -> None:
        self.name = f"{PREFIX}{port}-{os.getpid()}-{secrets.token_hex(6)}"
        self.size = -(-size // _GRAIN) * _GRAIN
        self.registered = False
        # A list, which the finalizer shares.
        self._registration: list[Future[BoxwiseError | None]] = []
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
        self._end = weakref.finalize(
            self, _remove, FOLDER / self.name, self._file, os.getpid(), self._registration
        )

    @property
    def registration(self) -> Future[BoxwiseError | None] | None:
        return self._registration[0] if self._registration else None

    @registration.setter
    def registration(self, future: Future[BoxwiseError | None] | None) -> None:
        self._registration[:] = [] if future is None else [future]

    @property
    def key(self) -> str:
        """The name for `shm_open`."""
        return f"/{self.name}"

    def write(self, payload: Buffer) -> None:
        """Copy a frame into the slot."""
        view = memoryview(payload)
        self._memory[: view.nbytes] = view

    def close(self) -> None:
        """Remove it; a process that inherited it by a fork leaves the file to its owner.

        If the server may still have it registered, the file stays: a later sweep finds it without a
        lock, and unregisters it. Without the file's name, it would stay registered for ever.
        """
        self._end()
        self._memory.close()


def _remove(
    path: Path, file: int, owner: int, registration: list[Future[BoxwiseError | None]]
) -> None:
    if os.getpid() == owner and not registration:
        path.unlink(missing_ok=True)
    os.close(file)


class Slots:
    """The slots for one server, one per frame in flight."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[Slot] = []
        self._all: list[Slot] = []
        self._closed = False
        self._lock = threading.Lock()
        self.swept = False
        self.refused = False

    def take(self, size: int) -> tuple[Slot, Slot | None]:
        """Return a slot of at least `size` bytes, and the slot it replaces, which the caller
        closes.

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
            slot = Slot(size, self._port)
        except OSError:
            if old is not None:
                old.close()
            raise
        with self._lock:
            self._all.append(slot)
        return slot, old

    def give(self, slot: Slot) -> None:
        """Return a slot after its call."""
        with self._lock:
            if slot in self._all and not self._closed:
                self._free.append(slot)
            else:
                slot.close()

    def known(self) -> list[Slot]:
        """Return the slots that the server may have registered."""
        with self._lock:
            return [slot for slot in self._all if slot.registration]

    def close(self) -> None:
        """Remove the free slots now, and the others when their calls end."""
        with self._lock:
            self._closed = True
            for slot in self._free:
                slot.close()
            self._all, self._free = [], []


@contextlib.contextmanager
def orphans(port: int) -> Iterator[list[str]]:
    """Yield the names of slots without an owner; the block's end removes those left in the list.

    Args:
        port: of the server, 0 for a Unix socket. Slots of other servers that still listen stay, as
            only they can be told to unregister them.
    """
    held: list[tuple[Path, int]] = []
    others = {str(port): False}  # whether a server listens on it
    try:
        for path in FOLDER.glob(f"{PREFIX}*"):
            theirs = path.name.removeprefix(PREFIX).partition("-")[0]
            if theirs not in others:
                others[theirs] = not theirs.isdecimal() or _listens(int(theirs))
            if others[theirs]:
                continue
            with contextlib.suppress(OSError):  # of another user, or just removed
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


def _listens(port: int) -> bool:
    """Whether a server of this machine has this port; one on a Unix socket, 0, is taken to."""
    with (
        contextlib.suppress(OSError, OverflowError),
        socket.create_connection(("localhost", port), timeout=1),
    ):
        return True
    return port == 0
