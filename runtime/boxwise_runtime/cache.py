"""The user's cache folder: what boxwise downloaded or built, and can download or build again."""

import os
import shutil
from pathlib import Path

TAG = "CACHEDIR.TAG"  # https://bford.info/cachedir: backup tools skip a folder that holds it
_TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Written by boxwise, which deletes only folders that hold this file. `boxwise cache "
    "--clear` empties it.\n"
)


class CacheError(RuntimeError):
    """The cache folder cannot be used, or is not ours; the message has the fix."""


def cache_location() -> Path:
    """Return $BOXWISE_CACHE, else $XDG_CACHE_HOME/boxwise, else ~/.cache/boxwise."""
    if own := os.environ.get("BOXWISE_CACHE"):
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification ignores relative paths.
    return (Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache") / "boxwise"


def cache_folder() -> Path:
    """Return the cache folder, created and tagged if it is new.

    Raises:
        CacheError: it cannot be written, or it already holds the files of something else.
    """
    folder = cache_location()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_ours(folder):
            if any(folder.iterdir()):
                raise CacheError(
                    f"{folder} holds files that are not boxwise's: "
                    "set BOXWISE_CACHE to a folder of its own (a new or an empty one)"
                )
            (folder / TAG).write_text(_TAG_TEXT)
    except OSError as error:
        raise CacheError(
            f"the cache folder {folder} cannot be used ({error.strerror}): "
            "set BOXWISE_CACHE to a folder that can be written"
        ) from error
    return folder


def is_ours(folder: Path) -> bool:
    """Return whether boxwise created this folder: it holds our tag."""
    try:
        return (folder / TAG).read_text() == _TAG_TEXT
    except (OSError, UnicodeDecodeError):
        return False


def cache_size(folder: Path) -> int:
    """Return the bytes of the files under `folder`, without following links."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:  # removed meanwhile
                continue
    return total


def clear(folder: Path) -> int:
    """Delete a cache folder of ours with its content; return the bytes freed.

    Raises:
        CacheError: the folder was not made by boxwise; nothing was deleted.
    """
    if not folder.exists():
        return 0
    if not is_ours(folder):
        raise CacheError(
            f"{folder} was not made by boxwise (it holds no {TAG} of ours): nothing was deleted"
        )
    freed = cache_size(folder)
    try:
        # The tag is deleted last, so that a retry works.
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == TAG):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if not folder.is_symlink() and not folder.is_mount():
            folder.rmdir()
    except OSError as error:
        raise CacheError(
            f"{error.filename or folder} could not be deleted: {error.strerror}"
        ) from error
    return freed
