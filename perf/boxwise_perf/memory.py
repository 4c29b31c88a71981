"""What a server holds: the memory of all its processes, shared memory counted once."""

from __future__ import annotations

import psutil

MIB = 2**20


def held_mib(pid: int) -> float:
    """PSS of a process and all its children, in MiB.

    PSS shares each page out between those that map it, so that the sum counts /dev/shm, and
    libraries, once.
    """
    server = psutil.Process(pid)
    return (
        float(
            sum(
                process.memory_full_info().pss
                for process in [server, *server.children(recursive=True)]
            )
        )
        / MIB
    )
