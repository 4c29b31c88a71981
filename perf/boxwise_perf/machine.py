"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

PACKAGES = (
    "boxwise",
    "nvidia-pytriton",
    "onnxruntime",
    "opencv-python-headless",
    "numpy",
    "grpcio",
)


@dataclass(frozen=True)
class Machine:
    """The machine and versions of a measurement.

    Attributes:
        cpu: name of the CPU model.
        cores: number of cores this process may use.
        memory_gib: of the machine, rounded.
        kernel: name and release.
        python: version.
        packages: name -> version, "-" if it is not installed.
    """

    cpu: str
    cores: int
    memory_gib: int
    kernel: str
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls) -> Self:
        """Return this machine."""
        return cls(
            _processor(),
            len(os.sched_getaffinity(0)),
            round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            f"{platform.system()} {platform.release()}",
            platform.python_version(),
            {package: _version(package) for package in PACKAGES},
        )

    def difference(self, other: Machine) -> str:
        """Return why figures of the two cannot be compared, or "". Versions may differ."""
        pairs = {
            "CPU": (self.cpu, other.cpu),
            "cores": (self.cores, other.cores),
            "GiB of memory": (self.memory_gib, other.memory_gib),
        }
        return "; ".join(
            f"{name}: {ours} and {theirs}"
            for name, (ours, theirs) in pairs.items()
            if ours != theirs
        )

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB, {self.kernel}, Python "
            f"{self.python}; {versions}"
        )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
