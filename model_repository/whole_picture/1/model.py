from boxwise_runtime.python_backend import DecodingModel
from boxwise_runtime.stages import WholePicture


class TritonPythonModel(DecodingModel):
    stage_type = WholePicture
