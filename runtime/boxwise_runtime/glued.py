"""The name of `bls` in repositories that boxwise 0.1 exported; for one release."""

from boxwise_runtime.bls import BlsModel as GluedModel
from boxwise_runtime.bls import BlsPipeline as Glued

__all__ = ["Glued", "GluedModel"]
