from boxwise_runtime.stages import WholePicture
from boxwise_runtime.triton import DecodingModel


class TritonPythonModel(DecodingModel):
    stage_type = WholePicture
