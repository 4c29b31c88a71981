"""What a server has in /dev/shm, and how memory grows with requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boxwise_perf.memory import MIB, held_mib
from boxwise_runtime.launcher import ServerOptions, TritonProcess


def segment_bytes(options: ServerOptions) -> int:
    """The sizes of a server's segments in /dev/shm, together."""
    return sum(segment.stat().st_size for segment in Path("/dev/shm").glob(f"boxwise-{options.http_port}-*"))


@dataclass
class Growth:
    """A server's memory over its requests.

    Attributes:
        requests: so far, at each reading.
        held: MiB of PSS of all its processes, shared memory counted once.
        segments: MiB of its segments in /dev/shm.
    """

    requests: list[int] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    segments: list[float] = field(default_factory=list)

    def read(self, server: TritonProcess, requests: int) -> None:
        """Take a reading after so many requests."""
        self.requests.append(requests)
        self.held.append(held_mib(server.pid))
        self.segments.append(segment_bytes(server.options) / MIB)

    def slope(self, values: Sequence[float], *, of: float = 1.0) -> float:
        """MiB for each 100,000 requests: the line of least squares through the last part `of` `held` or `segments`."""
        first = round(len(values) * (1 - of))
        return float(np.polyfit(self.requests[first:], values[first:], 1)[0]) * 100_000
