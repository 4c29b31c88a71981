"""Which columns of a head's scores are classes, and what makes scores of them.

A head with C classes has C columns, or C + 1 where one is the background ("no object"). Its values
are logits, or scores already. What neither the values nor the names settle is a question to the
pipeline file, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwise_export.families.base import Head, Question, are_probabilities
from boxwise_export.graphs.builder import GraphBuilder
from boxwise_export.pipeline import Activation, Background

# How scores come about, whether or not the graph has done it: by a softmax or a sigmoid; and the
# background's place.
Choice = tuple[Activation, Background]
_MEANINGS: dict[Choice, str] = {
    ("softmax", "last"): "a softmax whose last column is no object, as in DETR",
    ("softmax", "first"): "a softmax whose first column is the background, as in SSD",
    ("softmax", "none"): "a softmax over the classes alone",
    ("sigmoid", "none"): "a sigmoid for each class",
    (
        "sigmoid",
        "first",
    ): "a sigmoid for each class, the first column unused, as where columns are COCO ids",
    ("sigmoid", "last"): "a sigmoid for each class, the last column unused",
}
_BACKGROUND_NAMES = ("background", "bg", "no object", "noobject")
_SUM_TOLERANCE = 5e-3  # of a row after a softmax in fp16


@dataclass(frozen=True)
class Columns:
    """The columns of a head's scores, settled.

    Attributes:
        count: of all columns.
        activation: what is still to be applied.
        background: which column is no class.
        exclusive: whether one class excludes the others: a softmax, applied already or still to be.
        meaning: how scores come about, as a person reads it.
        assumed: what was concluded and not said, each a sentence with its reason.
        unnamed: which of the names given is the background's.
    """

    count: int
    activation: Activation
    background: Background
    exclusive: bool
    meaning: str
    assumed: tuple[str, ...] = ()
    unnamed: Background = "none"

    @property
    def classes(self) -> int:
        """How many columns are classes."""
        return self.count - (self.background != "none")

    def scores(self, graph: GraphBuilder, tensor: str) -> str:
        """Scores of the classes, float32 [..., classes], from the head's own tensor [...,
        count].
        """
        if self.activation == "softmax":
            tensor = graph.op("Softmax", tensor, axis=-1)
        elif self.activation == "sigmoid":
            tensor = graph.op("Sigmoid", tensor)
        if self.background == "none":
            return tensor
        start = int(self.background == "first")
        return graph.slice_last(tensor, start, start + self.classes)


def class_rows(values: NDArray[np.float32], per_cell: int = 1) -> NDArray[np.float32]:
    """A map [1, per_cell * C, h, w] as rows [h * w * per_cell, C], for `read_columns`."""
    _, channels, height, width = values.shape
    split = values.reshape(per_cell, channels // per_cell, height * width)
    return split.transpose(2, 0, 1).reshape(-1, channels // per_cell)


def is_background(name: str) -> bool:
    """Whether a class of this name is no object: "background", "__background__", "no-object"."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split()) in _BACKGROUND_NAMES


def named_background(names: Sequence[str] | None) -> Background | None:
    """Where the names have the background; None where they do not."""
    if not names:
        return None
    return "first" if is_background(names[0]) else "last" if is_background(names[-1]) else None


def is_distribution(values: NDArray[np.float32]) -> bool:
    """Whether each row [..., C] of more than one column sums to 1, as after a softmax."""
    if values.shape[-1] < 2 or not values.size or not are_probabilities(values):
        return False
    return bool(np.allclose(values.sum(axis=-1, dtype=np.float64), 1, atol=_SUM_TOLERANCE))


def read_columns(
    head: Head, name: str, values: NDArray[np.float32], usual: Sequence[Choice]
) -> Columns | Question:
    """Settle the columns of a head's scores.

    Args:
        head: with the names, and the settings of the pipeline file.
        name: of the output.
        values: float32 [..., columns], what it held for an image of noise.
        usual: how the detectors of this family come to their scores.

    Returns:
        The columns; where the number of names fits no reading, those of the first one, whose number
        of classes then shows the mismatch.
    """
    count, applied = values.shape[-1], are_probabilities(values)
    found = f"{name} has {count} columns" + (
        "" if head.names is None else f" for {head.classes} names"
    )
    if question := _contradiction(head, found, values):
        return question
    choices = _choices(head, values, usual)
    if not choices:
        found += ", and its values are of no reading of this family"
        return Question(found, _readings(usual, applied), fits=False)
    fitting = [
        choice
        for choice in choices
        if head.names is None or head.classes in _names_for(count, choice, head)
    ]
    near = head.classes in (None, count, count - 1)
    if near and len(fitting) != 1:
        return Question(found, _readings(fitting or choices, applied), fits=bool(fitting))
    kind, background = (fitting or choices)[0]
    activation: Activation = "none" if applied else kind
    return Columns(
        count,
        activation,
        background,
        kind == "softmax",
        _MEANINGS[kind, background],
        tuple(_assumed(head, found, activation, background, applied=applied)),
        background if head.classes == count else "none",
    )


def _readings(choices: Sequence[Choice], applied: bool) -> tuple[tuple[str, str], ...]:
    """Of each choice the keys that choose it, and its meaning."""
    return tuple((_keys(choice, applied), _MEANINGS[choice]) for choice in choices)


def _assumed(
    head: Head, found: str, activation: Activation, background: Background, *, applied: bool
) -> Iterator[str]:
    """What was concluded where the pipeline file says nothing."""
    if head.activation is None:
        shown = (
            "the values are scores of 0 to 1" if applied else f"the values are logits, and {found}"
        )
        yield f"activation: {activation}, since {shown}"
    if head.background is None and background != "none":
        yield f"background: {background}, by the names"


def _choices(head: Head, values: NDArray[np.float32], usual: Sequence[Choice]) -> list[Choice]:
    """What the values and the settings allow: of it the usual, or all where the pipeline file asks
    for another.
    """
    kinds: Sequence[Activation] = ("softmax", "sigmoid")
    if is_distribution(values):
        kinds = ("softmax",)
    elif are_probabilities(values):
        kinds = ("sigmoid",)
    elif head.activation is not None:
        kinds = (head.activation,)
    background = head.background or (
        named_background(head.names) if head.classes == values.shape[-1] else None
    )
    allowed = [
        (kind, place) for kind, place in _MEANINGS if kind in kinds and background in (None, place)
    ]
    # Every row has its share of "no object" somewhere.
    if is_distribution(values) and background is None:
        allowed.remove(("softmax", "none"))
    return [choice for choice in allowed if choice in usual] or (allowed if head.activation else [])


def _names_for(count: int, choice: Choice, head: Head) -> tuple[int, ...]:
    """How many names there may be: one a class, or one a column where it is known which is the
    background's.
    """
    _, background = choice
    if background == "none":
        return (count,)
    known = background in (head.background, named_background(head.names))
    return (count - 1, count) if known else (count - 1,)


def _keys(choice: Choice, applied: bool) -> str:
    kind, background = choice
    return f"activation: {'none' if applied else kind}, background: {background}"


def _contradiction(head: Head, found: str, values: NDArray[np.float32]) -> Question | None:
    """Why the activation that the pipeline file asks for cannot be right."""
    applied = are_probabilities(values)
    if head.activation in ("softmax", "sigmoid") and applied:
        shown = (
            "each row sums to 1, as after a softmax"
            if is_distribution(values)
            else "all are scores of 0 to 1"
        )
        return Question(
            f"{found}, and {shown}: `activation: {head.activation}` would be applied a second time",
            (("activation: none", "the graph's own scores"),),
        )
    if head.activation == "none" and not applied:
        return Question(
            f"{found}, and its values go from {values.min():.3g} to {values.max():.3g}: "
            "they are no scores yet",
            (
                ("activation: softmax", "where one class excludes the others"),
                ("activation: sigmoid", "where each class is scored by itself"),
            ),
        )
    return None
