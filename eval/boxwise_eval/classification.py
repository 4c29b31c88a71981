"""How good a classifier's labels are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwise_eval.datasets.base import LabelledImage, plain
from boxwise_eval.detection import Matches
from boxwise_eval.run import Detections

# The true label, and the k that were said of it, best first.
Pairs = list[tuple[int, NDArray[np.int64]]]


@dataclass(frozen=True)
class ClassifierFigures:
    """How good a classifier is; shares are 0 to 1.

    Attributes:
        count: crops, or images, whose label is known.
        top1: the share whose best label is the true one.
        top5: the share whose best five have it; None where the pipeline says fewer than five.
        confusion: (true label, best label) -> how often; "" where the classifier was not asked.
    """

    count: int
    top1: float
    top5: float | None
    confusion: Mapping[tuple[str, str], int]


def figures(pairs: Pairs, labels: Sequence[str]) -> ClassifierFigures | None:
    """Figures over pairs of truth and answer; None where there is no pair.

    Args:
        pairs: from `of_boxes` or `of_images`.
        labels: the classifier's names.
    """
    if not pairs:
        return None
    deep = len(pairs[0][1]) >= min(5, len(labels))
    named = Counter((labels[true], labels[said[0]] if said[0] >= 0 else "") for true, said in pairs)
    return ClassifierFigures(
        count=len(pairs),
        top1=sum(true == said[0] for true, said in pairs) / len(pairs),
        top5=sum(true in said[:5] for true, said in pairs) / len(pairs) if deep else None,
        confusion=dict(sorted(named.items())),
    )


def of_boxes(
    classifier: str,
    labels: Sequence[str],
    images: Sequence[LabelledImage],
    found: Sequence[Detections],
    matches: Sequence[Matches],
    names: Sequence[str],
) -> Pairs:
    """The pairs of boxes that were found: what a box's own attributes say of it, or else the name
    of its class.

    Args:
        classifier: its name.
        labels: its names; a truth that is not among them is left out.
        images: of the set.
        found: of each.
        matches: of each.
        names: of the set's classes.
    """
    ids = _ids(labels)
    pairs: Pairs = []
    for image, each, match in zip(images, found, matches, strict=True):
        own = image.labels.get(classifier)
        for row, truth in match.right.items():
            said = (own[truth] if own else None) or names[image.class_ids[truth]]
            if plain(said) in ids and each.label_ids[classifier][row][0] >= 0:
                pairs.append((ids[plain(said)], each.label_ids[classifier][row]))
    return pairs


def of_images(
    classifier: str,
    labels: Sequence[str],
    images: Sequence[LabelledImage],
    found: Sequence[Detections],
    names: Sequence[str],
) -> Pairs:
    """The pairs of whole images; arguments as for `of_boxes`."""
    ids = _ids(labels)
    truths = (plain(names[image.class_ids[0]]) for image in images)
    return [
        (ids[truth], each.label_ids[classifier][0])
        for truth, each in zip(truths, found, strict=True)
        if truth in ids
    ]


def _ids(labels: Iterable[str]) -> dict[str, int]:
    return {plain(label): i for i, label in enumerate(labels)}
