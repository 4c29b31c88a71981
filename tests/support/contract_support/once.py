"""What takes long to make is made once in a run of the tests, by whichever worker process needs it
first.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that all worker processes of pytest-xdist share; tests only read it.

    Args:
        factory: of this worker process.
        name: of the folder.
        make: fills an empty folder. A failure is raised in the worker process that made it, and the
            next one tries again.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # base/popen-gw0
    folder = shared / f"once-{name}"
    with (shared / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = factory.mktemp(name)
            make(part)
            part.rename(folder)
    return folder
