"""Triton's ONNX Runtime backend, on a GPU, or on the CPU where there is none."""

from boxwise_runtime.targets.base import Target

ONNXRUNTIME = Target(
    name="onnxruntime",
    engine="onnxruntime",
    backend="onnxruntime",
    instance_kind="KIND_AUTO",
    config="configs/onnxruntime.pbtxt",
    image="deploy/Dockerfile",
    in_flight=4,
)
