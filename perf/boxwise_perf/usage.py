"""What serving takes of the machine: CPU and memory of the server's processes, and its GPUs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import psutil

from boxwise_perf.memory import held_mib

_SAMPLE_S = 0.5  # NVML's own averages are of a sixth of a second up to one


@dataclass(frozen=True)
class GpuUse:
    """One GPU during a run: mean utilisation in percent of the time, the most memory in MiB, mean
    power in watts.
    """

    name: str
    utilization: float
    memory_mib: float
    power_w: float | None


@dataclass(frozen=True)
class ServerUse:
    """The server's processes during a run.

    Attributes:
        cpu_cores: CPU seconds a second.
        cpu_ms_per_image: CPU milliseconds for each answered request.
        memory_mib: PSS of all its processes at the end, /dev/shm counted once.
    """

    cpu_cores: float
    cpu_ms_per_image: float
    memory_mib: float


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a process and its children have used so far, user and system."""
    server = psutil.Process(pid)
    used = 0.0
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def server_use(pid: int, cpu_s: float, seconds: float, answered: int) -> ServerUse:
    """Of a server that used `cpu_s` in `seconds` and answered so many."""
    return ServerUse(cpu_s / seconds, cpu_s / max(1, answered) * 1e3, held_mib(pid))


class Gpus:
    """The GPUs of this machine as NVML sees them; where there are none, or no pynvml, nothing is
    said.

    Args:
        load: imports NVML's Python module, nvidia-ml-py's `pynvml`.
    """

    def __init__(self, load: Callable[[], Any] = lambda: import_module("pynvml")) -> None:
        self._devices: list[Any] = []
        try:
            self._nvml = load()
        except ModuleNotFoundError:
            return
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            self._devices = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    def watch_until(self, moment: float) -> tuple[GpuUse, ...]:
        """Look at them until this `time.perf_counter()`,
        which is waited for with or without GPUs.
        """
        seen: list[list[tuple[float, float, float | None]]] = [[] for _ in self._devices]
        while (left := moment - time.perf_counter()) > 0:
            time.sleep(min(left, _SAMPLE_S) if self._devices else left)
            for device, rows in zip(self._devices, seen, strict=True):
                with suppress(self._nvml.NVMLError):
                    rows.append(self._look(device))
        return tuple(
            GpuUse(
                self._name(device),
                statistics.fmean(row[0] for row in rows),
                max(row[1] for row in rows),
                statistics.fmean(watts)
                if (watts := [row[2] for row in rows if row[2] is not None])
                else None,
            )
            for device, rows in zip(self._devices, seen, strict=True)
            if rows
        )

    def _look(self, device: Any) -> tuple[float, float, float | None]:
        watts = None
        with suppress(self._nvml.NVMLError):  # not every GPU measures it
            watts = self._nvml.nvmlDeviceGetPowerUsage(device) / 1e3
        utilization = self._nvml.nvmlDeviceGetUtilizationRates(device).gpu
        return float(utilization), self._nvml.nvmlDeviceGetMemoryInfo(device).used / 2**20, watts

    def _name(self, device: Any) -> str:
        name = self._nvml.nvmlDeviceGetName(device)
        return name.decode() if isinstance(name, bytes) else str(name)
