"""Triton's TensorRT backend, on a GPU, with plans that `boxwise build-engines` builds there."""

from boxwise_runtime.targets.base import Target

TENSORRT = Target(
    name="tensorrt",
    engine="tensorrt",
    backend="tensorrt",
    instance_kind="KIND_GPU",
    config="configs/tensorrt.pbtxt",
    image="deploy/Dockerfile",
    in_flight=4,
)
