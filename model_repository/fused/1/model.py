from boxwise_runtime.pipeline_runner import Fused
from boxwise_runtime.python_backend import PipelineModel


class TritonPythonModel(PipelineModel):
    stage_type = Fused
