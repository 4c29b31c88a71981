from boxwise_runtime.stages import Preprocess
from boxwise_runtime.triton import DecodingModel


class TritonPythonModel(DecodingModel):
    stage_type = Preprocess
