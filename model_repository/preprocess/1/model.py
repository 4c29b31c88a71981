from boxwise_runtime.stages import Preprocess
from boxwise_runtime.triton import QueuedModel


class TritonPythonModel(QueuedModel):
    stage_type = Preprocess
