"""What makes scores of a classifier's outputs: asked for, or read from the graph and from what it
gives.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from boxwise_export.errors import PipelineError
from boxwise_export.families.base import are_probabilities
from boxwise_export.families.columns import is_distribution
from boxwise_export.pipeline import Activation

# What passes values on as they are.
_PASSING = (
    "Identity",
    "Cast",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "DequantizeLinear",
    "QuantizeLinear",
)
_SCORES = ("Softmax", "Sigmoid", "HardSigmoid")


def settle_activation(
    asked: Activation | None, last: str | None, values: NDArray[np.float32], key: str
) -> tuple[Activation, tuple[str, ...]]:
    """Decide which activation is written behind a classifier's graph, so that none is applied
    twice.

    Args:
        asked: `activation:` of the pipeline file.
        last: the operator that gives the output, from `last_operator`.
        values: float32 [images, C], what the graph gave for several different images.
        key: of the classifier in the pipeline file.

    Returns:
        The activation, and what was concluded, each a sentence.

    Raises:
        PipelineError: the pipeline file asks for one that the graph has applied, or does not say
            which and both fit.
    """
    distribution, unit = is_distribution(values), are_probabilities(values)
    applied = last in _SCORES or distribution
    shown = (
        f"the graph ends in a {last}"
        if last in _SCORES
        else "its values lie in 0 to 1 and sum to 1"
    )
    if applied and asked in ("softmax", "sigmoid"):
        raise PipelineError(
            f"{key}.activation: {asked}, but {shown}: it would be applied twice. Set "
            "`activation: none`"
        )
    if applied:
        return "none", () if asked else (f"activation: none, since {shown}",)
    if values.shape[1] == 1 and asked in (None, "softmax"):
        raise PipelineError(
            f"{key}.activation: the graph gives one number, whose softmax is always 1. Set "
            "`activation: sigmoid` where it is a logit, or `none` where it is a score"
        )
    if unit and asked is None:
        raise PipelineError(
            f"{key}.activation: on every image tried, the graph's values lie in 0 to 1, and "
            "nothing shows whether they are scores. Set `activation: none` where they are, or "
            "`softmax` or `sigmoid` where they are logits"
        )
    if asked is None:
        return "softmax", (
            "activation: softmax, since the values are logits; `sigmoid` where several "
            "labels can hold",
        )
    return asked, ()


def last_operator(model: onnx.ModelProto, output: str) -> str | None:
    """The operator that gives an output, beyond those that pass values on; None where it is an
    input or a constant.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    while (node := made_by.get(output)) is not None:
        if node.op_type not in _PASSING:
            return str(node.op_type)
        output = node.input[0]
    return None
