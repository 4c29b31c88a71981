from boxwise_runtime.glued import Glued, GluedModel


class TritonPythonModel(GluedModel):
    stage_type = Glued
