"""Ends a server whose launcher has gone without stopping it, kill -9 included.

The launcher runs this file as a program beside the server: `python guard.py GROUP PREFIX`, with a
pipe as its stdin that closes when the launcher dies. Having the kernel kill the server
(PR_SET_PDEATHSIG) is not enough: a Python stage whose server is killed between its reply and the
server's receipt waits forever. It imports the standard library only.
"""

import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

DONE = b"done\n"  # what a launcher that has stopped its server writes
_PARENT_POLL_S = 1  # a forked child of the launcher may hold the pipe open


def end(group: int, prefix: str) -> None:
    """Kill a process group, and remove the segments in /dev/shm whose names begin with `prefix`."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for segment in Path("/dev/shm").glob(f"{prefix}*"):  # noqa: S108
        segment.unlink(missing_ok=True)


def main(group: int, prefix: str) -> None:
    """Wait for the launcher to be done or dead, and in the latter case end its server."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # it ends when the launcher does, not before
        signal.signal(number, signal.SIG_IGN)
    launcher = os.getppid()
    while os.getppid() == launcher:
        if select.select([sys.stdin], [], [], _PARENT_POLL_S)[0]:
            if os.read(sys.stdin.fileno(), len(DONE)):
                return
            break
    end(group, prefix)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
