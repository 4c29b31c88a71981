"""What runs the networks, and which configuration of a model is for it."""

from typing import Literal, get_args

Target = Literal["embedded", "onnxruntime", "tensorrt"]
TARGETS: tuple[Target, ...] = get_args(Target)


def config_path(target: Target) -> str:
    """Where a model's folder has its configuration for a target; `embedded` has the one that Triton
    takes unasked.
    """
    return "config.pbtxt" if target == "embedded" else f"configs/{target}.pbtxt"
