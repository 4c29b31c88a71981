"""The memory of a server: that of all its processes, with shared memory counted once."""

from __future__ import annotations

import psutil

MIB = 2**20


def held_mib(pid: int) -> float:
    """Return the PSS of a process and all its children, in MiB.

    PSS divides each page among the processes that map it, so the sum counts /dev/shm and libraries
    once.
    """
    server = psutil.Process(pid)
    processes = [server, *server.children(recursive=True)]
    return float(sum(process.memory_full_info().pss for process in processes)) / MIB
