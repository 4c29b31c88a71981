"""CPU and memory of a process tree, and GPUs through something that speaks NVML's Python API."""

import os
import time
from types import SimpleNamespace
from typing import Any

import pytest

from boxwise_perf.usage import Gpus, cpu_seconds, server_use


def test_cpu_and_memory_of_this_process() -> None:
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) < before + 0.05:
        sum(range(10_000))
    use = server_use(os.getpid(), 3.0, 2.0, 100)
    assert (use.cpu_cores, use.cpu_ms_per_image) == (1.5, 30)
    assert use.memory_mib > 1


class NvmlError(Exception):
    pass


def nvml(**changes: Any) -> SimpleNamespace:
    found: dict[str, Any] = {
        "NVMLError": NvmlError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda device: b"a GPU",
        "nvmlDeviceGetUtilizationRates": lambda device: SimpleNamespace(gpu=40),
        "nvmlDeviceGetMemoryInfo": lambda device: SimpleNamespace(used=512 * 2**20),
        "nvmlDeviceGetPowerUsage": lambda device: 70_000,
    }
    return SimpleNamespace(**found | changes)


def refuse(*_: object) -> None:
    raise NvmlError


def missing() -> None:
    raise ModuleNotFoundError("pynvml")


@pytest.mark.parametrize(
    "load", [missing, lambda: nvml(nvmlInit=refuse), lambda: nvml(nvmlDeviceGetCount=lambda: 0)]
)
def test_no_gpu_is_no_error(load: Any) -> None:
    start = time.perf_counter()
    assert Gpus(load).watch_until(start + 0.02) == ()
    assert time.perf_counter() >= start + 0.02, "the moment is waited for all the same"


@pytest.mark.parametrize(
    ("changes", "watts"), [({}, 70.0), ({"nvmlDeviceGetPowerUsage": refuse}, None)]
)
def test_a_gpu(changes: dict[str, Any], watts: float | None) -> None:
    (gpu,) = Gpus(lambda: nvml(**changes)).watch_until(time.perf_counter() + 0.02)
    assert (gpu.name, gpu.utilization, gpu.memory_mib, gpu.power_w) == ("a GPU", 40, 512, watts)


def test_a_gpu_that_does_not_answer_is_left_out() -> None:
    gpus = Gpus(lambda: nvml(nvmlDeviceGetUtilizationRates=refuse))
    assert gpus.watch_until(time.perf_counter() + 0.02) == ()
