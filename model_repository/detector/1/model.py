from boxwise_runtime.stages import OnnxStage
from boxwise_runtime.triton import QueuedModel


class TritonPythonModel(QueuedModel):
    stage_type = OnnxStage
