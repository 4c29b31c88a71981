"""A TensorRT or a GPU that is not here is one sentence; one that is is named."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from boxwise_export.tensorrt.engine import EngineError
from boxwise_export.tensorrt.gpu import Gpu, find_gpu, load_tensorrt


def test_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"^TensorRT is not here .*boxwise\[export,gpu\]"):
        load_tensorrt()


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.11.0.33"])
def test_a_tensorrt_that_is_too_old(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=version))
    with pytest.raises(EngineError, match=rf"TensorRT {version} is too old: 10\.12 or newer"):
        load_tensorrt()


@pytest.mark.parametrize("version", ["10.12.0", "10.16.1.11", "11.4.0.106"])
def test_a_tensorrt_that_is_new_enough(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    module = SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert load_tensorrt() is module


class Nvml:
    """What NVML would say of a machine with one GPU, or of one without a driver."""

    def __init__(self, driver: bool) -> None:
        self.driver = driver

    def nvmlInit(self) -> None:
        if not self.driver:
            raise RuntimeError("Driver Not Loaded")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index:
            raise RuntimeError("Invalid Argument")
        return index

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return 8, 9

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA L4"


@pytest.mark.parametrize(
    ("nvml", "index", "reason"),
    [
        (None, 0, "pynvml"),
        (Nvml(driver=False), 0, "Driver Not Loaded"),
        (Nvml(driver=True), 1, "Invalid Argument"),
    ],
)
def test_no_gpu(monkeypatch: pytest.MonkeyPatch, nvml: Any, index: int, reason: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with pytest.raises(
        EngineError, match=f"no NVIDIA GPU is seen here .*{reason}.*the machine that will serve"
    ):
        find_gpu(index)


def test_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(driver=True))
    assert find_gpu() == Gpu("NVIDIA L4", "8.9")
