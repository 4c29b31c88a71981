"""No activation is applied twice, and none is left out, without a word."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from boxwise_export.errors import PipelineError
from boxwise_export.families.activation import last_operator, settle_activation

LOGITS = np.random.default_rng(0).normal(0, 3, (4, 5)).astype(np.float32)
SIGMOID = 1 / (1 + np.exp(-LOGITS))
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("asked", "last", "values", "activation", "assumed"),
    [
        (None, "Gemm", LOGITS, "softmax", True),
        ("softmax", "Gemm", LOGITS, "softmax", False),
        ("sigmoid", "Gemm", LOGITS, "sigmoid", False),
        ("none", "Gemm", LOGITS, "none", False),  # cosines, say
        (None, "Softmax", SOFTMAX, "none", True),
        ("none", "Softmax", SOFTMAX, "none", False),
        (None, "Div", SOFTMAX, "none", True),  # a softmax in pieces
        (None, "Sigmoid", SIGMOID, "none", True),
        ("sigmoid", "Clip", SIGMOID, "sigmoid", False),  # logits that happen to lie in 0 to 1
        (None, "LogSoftmax", np.log(SOFTMAX), "softmax", True),  # which gives the softmax itself
    ],
)
def test_what_is_settled(
    asked: str | None, last: str, values: np.ndarray, activation: str, assumed: bool
) -> None:
    found, notes = settle_activation(asked, last, values, "classifiers.c")  # type: ignore[arg-type]
    assert (found, bool(notes)) == (activation, assumed)


@pytest.mark.parametrize(
    ("asked", "last", "values", "message"),
    [
        (
            "softmax",
            "Softmax",
            SOFTMAX,
            "ends in a Softmax: it would be applied twice. Set `activation: none`",
        ),
        ("sigmoid", "Softmax", SOFTMAX, "twice"),
        ("sigmoid", "Sigmoid", SIGMOID, "ends in a Sigmoid"),
        ("softmax", "Div", SOFTMAX, "sum to 1"),
        (None, "Clip", SIGMOID, "nothing shows whether they are scores. Set `activation: none`"),
        (
            None,
            "Gemm",
            LOGITS[:, :1],
            "one number, whose softmax is always 1. Set `activation: sigmoid`",
        ),
        ("softmax", "Gemm", LOGITS[:, :1], "always 1"),
    ],
)
def test_what_is_refused(asked: str | None, last: str, values: np.ndarray, message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        settle_activation(asked, last, values, "classifiers.c")  # type: ignore[arg-type]
    assert str(caught.value).startswith("classifiers.c.activation: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kinds", "last"),
    [(["Softmax"], "Softmax"), (["Sigmoid", "Identity", "Cast"], "Sigmoid"), ([], None)],
)
def test_the_last_operator_is_found_behind_those_that_pass_values_on(
    kinds: list[str], last: str | None
) -> None:
    nodes = [
        helper.make_node(
            kind, [f"t{i}"], [f"t{i + 1}"], **({"to": TensorProto.FLOAT} if kind == "Cast" else {})
        )
        for i, kind in enumerate(kinds)
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("t0", TensorProto.FLOAT, [1, 2])],
        [value(f"t{len(kinds)}", TensorProto.FLOAT, [1, 2])],
    )
    assert last_operator(helper.make_model(graph), f"t{len(kinds)}") == last
