from boxwise_runtime.bls import BlsModel, BlsPipeline


class TritonPythonModel(BlsModel):
    stage_type = BlsPipeline
