"""The name of `pipeline_runner` in repositories that boxwise 0.1 exported; for one release."""

from boxwise_runtime.pipeline_runner import Fused

__all__ = ["Fused"]
