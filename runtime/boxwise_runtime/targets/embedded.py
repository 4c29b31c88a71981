"""ONNX Runtime inside Triton's Python backend, on the CPU: what the Triton from pip serves."""

from boxwise_runtime.targets.base import Target

EMBEDDED = Target(
    name="embedded",
    engine="onnxruntime",
    backend="python",
    instance_kind="KIND_CPU",
    config="config.pbtxt",
    image="deploy/Dockerfile.cpu",
    in_flight=2,
)
