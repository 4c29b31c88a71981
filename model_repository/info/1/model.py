from boxwise_runtime.stages import Info
from boxwise_runtime.triton import StageModel


class TritonPythonModel(StageModel):
    stage_type = Info
