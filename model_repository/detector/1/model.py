from boxwise_runtime.python_backend import QueuedModel
from boxwise_runtime.stages import OnnxStage


class TritonPythonModel(QueuedModel):
    stage_type = OnnxStage
