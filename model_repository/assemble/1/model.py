from boxwise_runtime.stages import Assemble
from boxwise_runtime.triton import StageModel


class TritonPythonModel(StageModel):
    stage_type = Assemble
