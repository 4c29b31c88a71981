"""The tensor contract between clients and pipelines, version 1: its facts, each stated once.

    client: options.RequestOptions ─▶ tensors.REQUEST ─▶ gRPC
    stages: options.Thresholds.read ─▶ one `thresholds` tensor ─▶ Thresholds.unpack, in `nms`
            limits.ImageLimits ─▶ refusals.InvalidInput, or pixels
    stages: tensors.DETECTIONS, label_tensors() ─▶ gRPC ─▶ client: Result
    errors: refusals.py: what a message says ─▶ the client's error

Numpy only: the SDK, the stages inside Triton and the exporter import it, and it imports none of
them. CONTRIBUTING.md lists what a new request option touches.
"""

from boxwise_contract.limits import ImageLimits
from boxwise_contract.options import OPTIONS, RequestOptions, Thresholds, read_class_filter
from boxwise_contract.refusals import InvalidInput
from boxwise_contract.tensors import (
    DETECTIONS,
    DTYPES,
    FRAME,
    IMAGE,
    INFO,
    VERSION,
    Tensors,
    TensorSpec,
    info_model,
    label_tensors,
    raw_model,
)

__all__ = [
    "DETECTIONS",
    "DTYPES",
    "FRAME",
    "IMAGE",
    "INFO",
    "OPTIONS",
    "VERSION",
    "ImageLimits",
    "InvalidInput",
    "RequestOptions",
    "TensorSpec",
    "Tensors",
    "Thresholds",
    "info_model",
    "label_tensors",
    "raw_model",
    "read_class_filter",
]
