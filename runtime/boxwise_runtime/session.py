"""An ONNX Runtime session, configured as every part of boxwise runs its graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


class OnnxGraph:
    """One ONNX graph on the CPU, run in chunks whose activations fit a core's caches.

    Args:
        path: the model, or its serialised bytes.
        threads: of one run; instances share the cores.
        chunk: maximum rows of one run; more are split and joined again. 0: no limit. Runs of 4
            take a sixth less time a row than runs of 16 (`repository.layouts.CHUNK`) and less
            memory.
    """

    def __init__(self, path: Path | bytes, *, threads: int = 1, chunk: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A waiting thread must not take the core of another instance.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # errors are raised anyway
        self._session = ort.InferenceSession(
            str(path) if isinstance(path, Path) else path,
            options,
            providers=["CPUExecutionProvider"],
        )
        self._chunk = chunk
        self.outputs: Sequence[str] = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run the graph on named tensors whose first dimension is the batch; return every output by
        name.
        """
        rows = len(next(iter(inputs.values())))
        step = self._chunk or rows
        runs = [
            self._session.run(
                None, {name: tensor[start : start + step] for name, tensor in inputs.items()}
            )
            for start in range(0, rows, step)
        ]
        outputs = (
            runs[0]
            if len(runs) == 1
            else [np.concatenate(parts) for parts in zip(*runs, strict=True)]
        )
        return dict(zip(self.outputs, outputs, strict=True))

    def run_blank(self) -> None:
        """Run it on zeros, with as many rows as a run has: later runs need no set-up."""
        shapes = {each.name: each.shape for each in self._session.get_inputs()}
        rows = {
            name: [dim if isinstance(dim, int) else self._chunk or 1 for dim in shapes[name]]
            for name in shapes
        }
        for _ in range(
            2
        ):  # the first measures the memory that a run needs, the second allocates it
            self({name: np.zeros(shape, np.uint8) for name, shape in rows.items()})
