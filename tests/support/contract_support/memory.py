"""What a server has in /dev/shm, what processes held at most,
and how memory grows with requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from boxwise_perf.memory import MIB
from boxwise_runtime.launcher import ServerOptions, TritonProcess


def segments(options: ServerOptions) -> list[Path]:
    """What a server has in /dev/shm."""
    return list(Path("/dev/shm").glob(f"boxwise-{options.http_port}-*"))


def segment_bytes(options: ServerOptions) -> int:
    """The sizes of a server's segments, together."""
    return sum(segment.stat().st_size for segment in segments(options))


class Peak:
    """The most memory that processes held since `Peak` was made."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        for pid in pids:
            # Proc(5): VmHWM becomes what is held now.
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._before = [self._most(pid) for pid in pids]

    def more(self) -> list[int]:
        """Of each process, the bytes beyond what it held then."""
        return [
            self._most(pid) - before for pid, before in zip(self._pids, self._before, strict=True)
        ]

    @staticmethod
    def _most(pid: int) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def own_mib(pid: int) -> float:
    """PSS of a process and its children without the pages of shared memory, MiB."""
    server = psutil.Process(pid)
    return (
        sum(map(_own_kib, (each.pid for each in (server, *server.children(recursive=True))))) / 1024
    )


def _own_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    values = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)
    }
    return values["Pss"] - values["Pss_Shmem"]


@dataclass
class Growth:
    """A server's memory over its requests.

    Attributes:
        requests: so far, at each reading.
        own: MiB of PSS of all its processes, without pages of shared memory.
        segments: MiB of its segments in /dev/shm. (PSS has of them only what a process has touched
            since they grew.)
    """

    requests: list[int] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    segments: list[float] = field(default_factory=list)

    def read(self, server: TritonProcess, requests: int) -> None:
        """Take a reading after so many requests."""
        self.requests.append(requests)
        self.own.append(own_mib(server.pid))
        self.segments.append(segment_bytes(server.options) / MIB)

    def slope(self, values: Sequence[float], *, of: float = 1.0) -> float:
        """MiB for each 100,000 requests: the line of least squares through the last part `of` `own`
        or `segments`.
        """
        first = round(len(values) * (1 - of))
        return float(np.polyfit(self.requests[first:], values[first:], 1)[0]) * 100_000
