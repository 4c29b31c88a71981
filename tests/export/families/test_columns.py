"""Which columns are classes: settled by the values and the names, or asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from boxwise_export.families import Head, Question
from boxwise_export.families.columns import (
    Choice,
    Columns,
    is_background,
    is_distribution,
    read_columns,
)

DETR: tuple[Choice, ...] = (("softmax", "last"), ("sigmoid", "none"), ("sigmoid", "first"))
SSD: tuple[Choice, ...] = (("softmax", "first"), ("softmax", "last"))
FOCAL: tuple[Choice, ...] = (("sigmoid", "none"), ("sigmoid", "first"))
GENERIC: tuple[Choice, ...] = (
    ("softmax", "first"),
    ("softmax", "last"),
    ("softmax", "none"),
    ("sigmoid", "none"),
)

LOGITS = np.random.default_rng(0).normal(0, 4, (1, 50, 4)).astype(np.float32)
SIGMOID = 1 / (1 + np.exp(-LOGITS))
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=-1, keepdims=True)


def settle(
    values: np.ndarray, names: str | None, usual: tuple[Choice, ...], **keys: Any
) -> Columns | Question:
    head = Head({"scores": values}, 64, 64, None if names is None else tuple(names.split()), **keys)
    return read_columns(head, "scores", values, usual)


@pytest.mark.parametrize(
    ("values", "names", "usual", "keys", "activation", "background", "classes", "unnamed"),
    [
        # As many names as columns.
        (LOGITS, "a b c d", DETR, {}, "sigmoid", "none", 4, "none"),
        (SIGMOID, "a b c d", DETR, {}, "none", "none", 4, "none"),
        (LOGITS, "a b c d", FOCAL, {}, "sigmoid", "none", 4, "none"),
        (SIGMOID, "a b c d", GENERIC, {}, "none", "none", 4, "none"),
        # One of the names is the background's, and no class.
        (SOFTMAX, "background a b c", GENERIC, {}, "none", "first", 3, "first"),
        (SOFTMAX, "a b c __background__", SSD, {}, "none", "last", 3, "last"),
        (LOGITS, "BG a b c", SSD, {}, "softmax", "first", 3, "first"),
        (LOGITS, "a b c no-object", DETR, {}, "softmax", "last", 3, "last"),
        # A name fewer, and told which column is no class.
        (LOGITS, "a b c", DETR, {"activation": "softmax"}, "softmax", "last", 3, "none"),
        (
            LOGITS,
            "a b c",
            DETR,
            {"background": "first", "activation": "sigmoid"},
            "sigmoid",
            "first",
            3,
            "none",
        ),
        (SOFTMAX, "a b c", SSD, {"background": "last"}, "none", "last", 3, "none"),
        (LOGITS, "a b c d", SSD, {"background": "first"}, "softmax", "first", 3, "first"),
        (
            SIGMOID,
            "a b c",
            SSD,
            {"activation": "none", "background": "first"},
            "none",
            "first",
            3,
            "none",
        ),
    ],
)
def test_what_is_settled(
    values: np.ndarray, names: str, usual: tuple[Choice, ...], keys: dict[str, Any],
    activation: str, background: str, classes: int, unnamed: str,
) -> None:  # fmt: skip
    columns = settle(values, names, usual, **keys)
    assert isinstance(columns, Columns), str(columns)
    assert (columns.activation, columns.background) == (activation, background)
    assert (columns.classes, columns.unnamed) == (classes, unnamed)
    said = {key for key, value in keys.items() if value}
    assumed = {note.partition(":")[0] for note in columns.assumed}
    assert not said & assumed, "what was said is no assumption"


@pytest.mark.parametrize(
    ("values", "names", "usual", "keys", "readings"),
    [
        (
            LOGITS,
            "a b c",
            DETR,
            {},
            ["activation: softmax, background: last", "activation: sigmoid, background: first"],
        ),
        (LOGITS, None, DETR, {}, ["background: last", "background: none", "background: first"]),
        (LOGITS, "a b c", SSD, {}, ["background: last", "background: first"]),
        (LOGITS, "a b c", FOCAL, {"background": "last"}, ["background: none", "background: first"]),
        (
            SOFTMAX,
            "a b c",
            GENERIC,
            {},
            ["activation: none, background: first", "activation: none, background: last"],
        ),
        # As many names as columns, and each row has its share of "no object" in one of them.
        (SOFTMAX, "a b c d", GENERIC, {}, ["background: first", "background: last"]),
        (
            LOGITS,
            "a b c d",
            GENERIC,
            {},
            ["activation: softmax, background: none", "activation: sigmoid"],
        ),
        # An activation that the graph has applied, or that nothing has.
        (SOFTMAX, "a b c", SSD, {"activation": "softmax"}, ["activation: none"]),
        (SIGMOID, "a b c d", DETR, {"activation": "sigmoid"}, ["activation: none"]),
        (
            LOGITS,
            "a b c d",
            DETR,
            {"activation": "none"},
            ["activation: softmax", "activation: sigmoid"],
        ),
    ],
)
def test_what_is_asked(
    values: np.ndarray,
    names: str | None,
    usual: tuple[Choice, ...],
    keys: dict[str, Any],
    readings: list[str],
) -> None:
    question = settle(values, names, usual, **keys)
    assert isinstance(question, Question)
    sentence = str(question)
    assert "scores has 4 columns" in sentence
    for reading in readings:
        assert reading in sentence


def test_a_wrong_number_of_names_is_shown_by_the_number_of_classes() -> None:
    columns = settle(LOGITS, "a b", DETR)
    assert isinstance(columns, Columns)
    assert columns.classes not in (1, 2)


def test_nothing_is_no_distribution() -> None:
    assert not is_distribution(np.zeros((1, 0, 4), np.float32))
    # One column: a score of 1, not a softmax.
    assert not is_distribution(np.ones((1, 5, 1), np.float32))
    assert is_distribution(SOFTMAX.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    "name", ["background", "__background__", "BACKGROUND", "bg", "no-object", "No Object"]
)
def test_names_of_the_background(name: str) -> None:
    assert is_background(name)


@pytest.mark.parametrize("name", ["N/A", "backgrounds", "person", ""])
def test_other_names(name: str) -> None:
    assert not is_background(name)
