from boxwise_runtime.python_backend import StageModel
from boxwise_runtime.stages import Assemble


class TritonPythonModel(StageModel):
    stage_type = Assemble
