"""Files that are there as a whole or not at all."""

import os
from pathlib import Path


def write_text(file: Path, text: str) -> None:
    """Write beside the file and rename, so that no reader, and no crash, meets half of it."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """The same of bytes. Raises OSError."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
