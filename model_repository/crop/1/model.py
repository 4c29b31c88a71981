from boxwise_runtime.stages import Crop
from boxwise_runtime.triton import StageModel


class TritonPythonModel(StageModel):
    stage_type = Crop
