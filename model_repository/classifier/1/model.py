from boxwise_runtime.stages import OnnxStage
from boxwise_runtime.triton import StageModel


class TritonPythonModel(StageModel):
    stage_type = OnnxStage
