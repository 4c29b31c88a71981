"""The GPU that plans are built for, and the TensorRT that builds them; what is missing is said in a
sentence.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from boxwise_export.tensorrt.engine import EngineError

_OLDEST = (10, 12)


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name, and its compute capability as "8.9"."""

    name: str
    capability: str


def load_tensorrt() -> Any:
    """The TensorRT of this machine.

    Raises:
        EngineError: there is none, its libraries are missing, or it is too old.
    """
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as error:
        raise EngineError(
            f"TensorRT is not here ({error}); it comes with NVIDIA's Triton container, or "
            'pip install "boxwise[export,gpu]"'
        ) from error
    if tuple(int(part) for part in trt.__version__.split(".")[:2]) < _OLDEST:
        raise EngineError(
            f"TensorRT {trt.__version__} is too old: {'.'.join(map(str, _OLDEST))} or newer "
            "is needed"
        )
    return trt


def find_gpu(index: int = 0) -> Gpu:
    """The GPU of this number, as NVML knows it.

    Raises:
        EngineError: there is none, or nothing that could see it.
    """
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        name = nvml.nvmlDeviceGetName(handle)
    except Exception as error:  # NVML's own, of many kinds
        raise EngineError(
            f"no NVIDIA GPU is seen here ({error}); plans load only on the kind of GPU that built "
            "them: build them on the machine that will serve, with its driver (in a container: "
            "--gpus all)"
        ) from error
    return Gpu(str(name), f"{major}.{minor}")
