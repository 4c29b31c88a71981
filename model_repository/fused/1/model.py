from boxwise_runtime.chain import Fused
from boxwise_runtime.triton import ChainModel


class TritonPythonModel(ChainModel):
    stage_type = Fused
