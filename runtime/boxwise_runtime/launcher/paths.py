"""Paths that Triton can hand on: it starts a stage by a line of shell, in which a space or an
accent is lost.
"""

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from boxwise_runtime.cache import CacheError, cache_folder
from boxwise_runtime.launcher.options import LaunchError

_PLAIN = re.compile(r"[A-Za-z0-9_./+=,@-]+")


def plain(path: Path) -> Path:
    """Return an absolute path to the same place, without spaces or letters beyond ASCII.

    That is the path itself, or a symbolic link to it, which stays: a server may outlive its
    launcher.

    Raises:
        LaunchError: no folder for links can be written whose own path is plain.
    """
    path = path.absolute()
    if _PLAIN.fullmatch(str(path)):
        return path
    try:
        folder = _links()
        link = folder / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        if not link.is_symlink() or link.readlink() != path:
            new = folder / f".{link.name}.{os.getpid()}"
            new.symlink_to(path)
            new.replace(link)
    except OSError as error:
        raise LaunchError(
            f"{path} has characters that Triton does not take, and no link to it can be made "
            f"({error}): move it to a path of letters, digits, - and _"
        ) from error
    return link


def _links() -> Path:
    """A folder of ours for links: in the cache, or in the temporary folder where the cache's own
    path is not plain.
    """
    try:
        folder = cache_folder() / "links"
    except CacheError:
        folder = Path()
    if not _PLAIN.fullmatch(str(folder)) or not folder.is_absolute():
        folder = Path(tempfile.gettempdir()).absolute() / f"boxwise-{os.getuid()}"
    if not _PLAIN.fullmatch(str(folder)):
        raise OSError(f"{folder} has such characters too: set TMPDIR to another")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if (
        not stat.S_ISDIR(found.st_mode)
        or found.st_uid != os.getuid()
        or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise OSError(f"{folder} is not a folder that only this user can write")
    return folder
