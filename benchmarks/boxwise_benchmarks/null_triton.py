"""A real Triton whose only model returns constants, to measure clients with a server's cost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIG = """\
name: "boxwise"
backend: "python"
input [ { name: "image" data_type: TYPE_UINT8 dims: [ -1 ] } ]
output [
  { name: "boxes" data_type: TYPE_FP32 dims: [ -1, 4 ] },
  { name: "scores" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "class_ids" data_type: TYPE_INT32 dims: [ -1 ] },
  { name: "image_size" data_type: TYPE_INT32 dims: [ 2 ] }
]
instance_group [ { kind: KIND_CPU count: 2 } ]
"""
_MODEL = """\
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.outputs = [
            pb_utils.Tensor("boxes", np.ones((5, 4), np.float32)),
            pb_utils.Tensor("scores", np.ones(5, np.float32)),
            pb_utils.Tensor("class_ids", np.zeros(5, np.int32)),
            pb_utils.Tensor("image_size", np.array([1080, 1920], np.int32)),
        ]

    def execute(self, requests):
        return [pb_utils.InferenceResponse(self.outputs) for _ in requests]
"""


@contextmanager
def null_triton() -> Iterator[str]:
    """Serve until the block ends, and yield HOST:PORT of gRPC."""
    from boxwise_runtime.launcher import ServerOptions, TritonProcess

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "boxwise")
        (model / "1").mkdir(parents=True)
        (model / "config.pbtxt").write_text(_CONFIG)
        (model / "1" / "model.py").write_text(_MODEL)
        options = ServerOptions.on_free_ports(Path(folder))
        with TritonProcess.start(options):
            yield options.grpc_url
