"""A plan, run on the GPU: what compares it with its graph.

This is the one part of boxwise that no machine of its CI can run: it needs a GPU. Its names are
checked against TensorRT's and CUDA's APIs; its behaviour is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_export.tensorrt.engine import EngineError, make_log


class PlanGraph:
    """A plan as a `runner.Graph`.

    Args:
        trt: the module.
        plan: the serialised engine.

    Raises:
        EngineError: TensorRT cannot load the plan, or CUDA refuses.
    """

    def __init__(self, trt: Any, plan: bytes) -> None:
        from cuda.bindings import runtime as cuda

        self._trt, self._cuda = trt, cuda
        self._log = make_log(trt)
        self._runtime = trt.Runtime(self._log)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(
                f"TensorRT {trt.__version__} cannot load a plan: {'; '.join(self._log.errors)}"
            )
        self._engine = engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._inputs = [
            name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ]
        self.outputs = [name for name in names if name not in self._inputs]
        self._most = int(engine.get_tensor_profile_shape(self._inputs[0], 0)[2][0])

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run named tensors, in batches that the engine takes."""
        rows = len(next(iter(inputs.values())))
        runs = [
            self._run({name: tensor[start : start + self._most] for name, tensor in inputs.items()})
            for start in range(0, rows, self._most)
        ]
        return {name: np.concatenate([run[name] for run in runs]) for name in self.outputs}

    def _run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        cuda, trt, engine = self._cuda, self._trt, self._engine
        context = engine.create_execution_context()
        stream = self._checked(cuda.cudaStreamCreate())
        held: list[int] = []
        try:
            for name, tensor in inputs.items():
                whole = np.ascontiguousarray(tensor)
                context.set_input_shape(name, whole.shape)
                held.append(self._checked(cuda.cudaMalloc(whole.nbytes)))
                to_device = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
                self._checked(cuda.cudaMemcpy(held[-1], whole.ctypes.data, whole.nbytes, to_device))
                context.set_tensor_address(name, held[-1])
            outputs = {
                name: np.empty(
                    tuple(context.get_tensor_shape(name)), trt.nptype(engine.get_tensor_dtype(name))
                )
                for name in self.outputs
            }
            places = {}
            for name, values in outputs.items():
                places[name] = self._checked(cuda.cudaMalloc(max(1, values.nbytes)))
                held.append(places[name])
                context.set_tensor_address(name, places[name])
            if not context.execute_async_v3(stream):
                raise EngineError(f"TensorRT cannot run a plan: {'; '.join(self._log.errors)}")
            self._checked(cuda.cudaStreamSynchronize(stream))
            for name, values in outputs.items():
                to_host = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
                self._checked(
                    cuda.cudaMemcpy(values.ctypes.data, places[name], values.nbytes, to_host)
                )
            return dict(outputs)
        finally:
            for address in held:
                cuda.cudaFree(address)
            cuda.cudaStreamDestroy(stream)

    def _checked(self, result: Any) -> Any:
        """What a function of CUDA gave, if it succeeded."""
        status, *values = result
        if int(status) != 0:
            raise EngineError(f"CUDA refuses: {self._cuda.cudaGetErrorString(status)[1].decode()}")
        return values[0] if values else None
