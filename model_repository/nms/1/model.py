from boxwise_runtime.python_backend import StageModel
from boxwise_runtime.stages import Suppress


class TritonPythonModel(StageModel):
    stage_type = Suppress
