from boxwise_runtime.triton import Glued, GluedModel


class TritonPythonModel(GluedModel):
    stage_type = Glued
