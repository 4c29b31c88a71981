"""The cores and the memory that this process may use: the machine's, or what its cgroup allows."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Resources:
    """What this process may use.

    Attributes:
        cores: at least 1.
        memory: bytes; None if unknown.
    """

    cores: int
    memory: int | None


def available(cgroups: Path = _CGROUPS, process: Path = Path("/proc/self/cgroup")) -> Resources:
    """Return the cores of the CPU mask and the machine's memory, or less if a cgroup (version 1 or
    2) allows less.
    """
    quotas, limits = [float(len(os.sched_getaffinity(0)))], []
    for folder in _folders(cgroups, process):
        quotas += _quota(folder)
        limits += _limit(folder)
    if (total := _total_memory()) is not None:
        limits.append(total)
    return Resources(max(1, math.ceil(min(quotas))), min(limits, default=None))


def _folders(cgroups: Path, process: Path) -> Iterator[Path]:
    """The folders of this process's cgroups and of those that they lie in, as far as they can be
    seen.
    """
    try:
        lines = process.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:  # "0::/path" of version 2, "4:memory:/path" of version 1
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        root = cgroups / controllers if controllers else cgroups
        inner = root / path.strip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))


def _quota(folder: Path) -> list[float]:
    """Cores: cpu.max is "QUOTA PERIOD" or "max PERIOD", in microseconds; version 1 has two files,
    -1 for no quota.
    """
    both = (
        _read(folder / "cpu.max")
        or f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
    )
    quota, _, period = both.partition(" ")
    if quota.isdecimal() and period.isdecimal() and int(period):
        return [int(quota) / int(period)]
    return []


def _limit(folder: Path) -> list[int]:
    texts = (_read(folder / name) for name in ("memory.max", "memory.limit_in_bytes"))
    return [int(text) for text in texts if text.isdecimal()]


def _read(file: Path) -> str:
    """Read a file of one line; empty if it cannot be read."""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _total_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
