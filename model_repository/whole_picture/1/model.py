from boxwise_runtime.stages import WholePicture
from boxwise_runtime.triton import QueuedModel


class TritonPythonModel(QueuedModel):
    stage_type = WholePicture
