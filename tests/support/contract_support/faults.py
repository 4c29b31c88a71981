"""Faults of a file system without root, a mount or a container: a library that is loaded before the
C library.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def build_faults(folder: Path) -> Path:
    """Compile faults.c, whose first lines say what it does, with gcc; returns the library."""
    library = folder / "faults.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"]
    subprocess.run(command, check=True)
    return library


def with_faults(library: Path, **faults: object) -> dict[str, str]:
    """An environment in which a program has them: `under`, `kill`, `full`, `shm`."""
    return (
        os.environ
        | {"LD_PRELOAD": str(library)}
        | {f"FAULTS_{name.upper()}": str(faults[name]) for name in faults}
    )
