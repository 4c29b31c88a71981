from boxwise_runtime.stages import Preprocess
from boxwise_runtime.triton import StageModel


class TritonPythonModel(StageModel):
    stage_type = Preprocess
