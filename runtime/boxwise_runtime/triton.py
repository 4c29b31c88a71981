"""The name of `python_backend` in repositories that boxwise 0.1 exported; for one release."""

from boxwise_runtime.python_backend import DecodingModel, PipelineModel, QueuedModel, StageModel

ChainModel = PipelineModel

__all__ = ["ChainModel", "DecodingModel", "QueuedModel", "StageModel"]
