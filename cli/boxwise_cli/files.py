"""Output files, which exist completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a new path with the same suffix, and rename it to `file` if the block succeeds.

    So neither a reader nor a crash finds an incomplete file. Raises OSError.
    """
    unfinished = file.with_name(f".{file.stem}.{os.getpid()}{file.suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file and create its folder. Raises OSError."""
    with replacing(file) as unfinished:
        unfinished.write_bytes(content)


def write_text(file: Path, text: str) -> None:
    """Write a file in UTF-8 and create its folder. Raises OSError."""
    write_bytes(file, text.encode())
