from boxwise_runtime.stages import WholePicture
from boxwise_runtime.triton import StageModel


class TritonPythonModel(StageModel):
    stage_type = WholePicture
