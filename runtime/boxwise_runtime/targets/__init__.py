"""What can run a pipeline's networks, one module for each target.

A new target is a module here, a row of `TARGETS`, the networks' configurations in
`model_repository/*/configs/`, and its name in the chart's schema; tests hold these together.
"""

from collections.abc import Mapping

from boxwise_runtime.targets.base import Target
from boxwise_runtime.targets.embedded import EMBEDDED
from boxwise_runtime.targets.onnxruntime import ONNXRUNTIME
from boxwise_runtime.targets.tensorrt import TENSORRT

TARGETS: Mapping[str, Target] = {
    target.name: target for target in (EMBEDDED, ONNXRUNTIME, TENSORRT)
}
"""By name; the first is the default."""

__all__ = ["EMBEDDED", "ONNXRUNTIME", "TARGETS", "TENSORRT", "Target"]
