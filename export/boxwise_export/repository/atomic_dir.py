"""Change a folder atomically: a reader sees the old state or the new one, never a mixture."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boxwise_export.errors import RepositoryError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # fcntl.h and linux/fs.h
# What renameat2 says where the kernel, the C library or the file system cannot exchange.
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder's parent, and remove what an interrupted change left.

    Raises:
        RepositoryError: the folder cannot be written: the disk is full, another user owns it.
    """
    try:
        with _locked(folder):
            yield
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, shutil.Error):
            # copytree's, of every file: "[Errno 28] No space left on device: 'a' -> 'b'"
            reason = str(error.args[0][0][2]).partition("] ")[2].partition(":")[0]
        raise RepositoryError(
            f"{folder}: cannot be written ({reason}), and stays as it was"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        previous = _previous(folder)
        if previous.exists() and not folder.exists():
            previous.rename(folder)
        shutil.rmtree(previous, ignore_errors=True)
        for leftover in folder.parent.glob(f"{_prefix(folder)}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        os.close(lock)


@contextmanager
def edited(folder: Path) -> Iterator[Path]:
    """Yield a copy to change; it replaces the folder when the block ends without an error. Call it
    under `locked`.

    The copy shares its files with the folder: replace a file by another, never write into it.

    Raises:
        RepositoryError: the folder cannot be replaced.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_prefix(folder)) as staging:
        tree = Path(staging, "new")
        if folder.exists():
            shutil.copytree(folder, tree, symlinks=True, copy_function=share)
        else:
            tree.mkdir()
        yield tree
        for entry in (*(path for path in tree.rglob("*") if path.is_dir()), tree):
            _sync(entry)
        _exchange(tree, folder)
        _sync(folder.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and sync it to disk; other links to an old one keep its content.

    It is read-only, since revisions share it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o444)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def share_file(source: Path, path: Path) -> None:
    """Link a read-only file to another place and sync it to disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    share(source, path)
    _sync(path)


def share(source: str | Path, target: str | Path) -> None:
    """Link a file, or copy it if the file system has no links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _prefix(folder: Path) -> str:
    return f".{folder.name}.staging-"


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(tree: Path, folder: Path) -> None:
    """Exchange two folders."""
    if not folder.exists():
        tree.rename(folder)
        return
    try:
        _rename_exchange(tree, folder)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise RepositoryError(
                f"{folder}: a mount point, which cannot be replaced as a whole; name a "
                "folder inside it"
            ) from error
        if error.errno not in _CANNOT:
            raise
        # For an instant there is no folder; `locked` restores it after a crash at that instant.
        folder.rename(_previous(folder))
        tree.rename(folder)
        _previous(folder).rename(tree)


def _rename_exchange(one: Path, other: Path) -> None:
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, "the C library has no renameat2") from None
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
