from boxwise_runtime.python_backend import DecodingModel
from boxwise_runtime.stages import Preprocess


class TritonPythonModel(DecodingModel):
    stage_type = Preprocess
