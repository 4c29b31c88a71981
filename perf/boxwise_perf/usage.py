"""The server's use of the machine: CPU and memory of its processes, and GPUs."""

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

_SAMPLE_S = 0.5  # NVML averages over a sixth of a second to one second


@dataclass(frozen=True)
class GpuUse:
    """One GPU during a run: mean utilization in percent, maximum memory in MiB, mean power in W."""

    name: str
    utilization: float
    memory_mib: float
    power_w: float | None


@dataclass(frozen=True)
class ServerUse:
    """The server's processes during a run.

    Attributes:
        cpu_cores: CPU seconds per second.
        cpu_ms_per_image: CPU milliseconds per successful request.
        memory_mib: PSS of all processes at the end, with /dev/shm counted once.
    """

    cpu_cores: float
    cpu_ms_per_image: float
    memory_mib: float


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds, user and system, that a process and its children have used."""
    server = psutil.Process(pid)
    used = 0.0
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def server_use(pid: int, cpu_s: float, seconds: float, answered: int) -> ServerUse:
    """Return the use of a server that spent `cpu_s` in `seconds` on `answered` requests."""
    return ServerUse(cpu_s / seconds, cpu_s / max(1, answered) * 1e3, held_mib(pid))


class Gpus:
    """The GPUs of this machine that NVML reports; none without NVML or `pynvml`.

    Args:
        load: imports `pynvml`, of nvidia-ml-py.
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
        """Sample the GPUs until this `time.perf_counter()`. Without GPUs, only wait for it."""
        seen: list[list[tuple[float, float, float | None]]] = [[] for _ in self._devices]
        while (left := moment - time.perf_counter()) > 0:
            time.sleep(min(left, _SAMPLE_S) if self._devices else left)
            for device, rows in zip(self._devices, seen, strict=True):
                with suppress(self._nvml.NVMLError):
                    rows.append(self._sample(device))
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

    def _sample(self, device: Any) -> tuple[float, float, float | None]:
        watts = None
        with suppress(self._nvml.NVMLError):  # some GPUs do not measure power
            watts = self._nvml.nvmlDeviceGetPowerUsage(device) / 1e3
        utilization = self._nvml.nvmlDeviceGetUtilizationRates(device).gpu
        return float(utilization), self._nvml.nvmlDeviceGetMemoryInfo(device).used / 2**20, watts

    def _name(self, device: Any) -> str:
        name = self._nvml.nvmlDeviceGetName(device)
        return name.decode() if isinstance(name, bytes) else str(name)
