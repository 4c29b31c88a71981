from boxwise_runtime.stages import Suppress
from boxwise_runtime.triton import StageModel


class TritonPythonModel(StageModel):
    stage_type = Suppress
