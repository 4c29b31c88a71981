"""Accuracy of a classifier: top-1, top-5 and confusion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwise_eval.datasets.base import LabelledImage, plain
from boxwise_eval.detection import Matches
from boxwise_eval.run import Detections

# The true label, and the k predicted ones, best first.
Pairs = list[tuple[int, NDArray[np.int64]]]


@dataclass(frozen=True)
class ClassifierFigures:
    """The accuracy of a classifier; shares are 0 to 1.

    Attributes:
        count: number of crops, or images, whose label is known.
        top1: share whose best label is the true one.
        top5: share whose best five labels contain the true one; None if the pipeline returns fewer.
        confusion: (true label, best label) -> count; "" if the classifier did not run.
    """

    count: int
    top1: float
    top5: float | None
    confusion: Mapping[tuple[str, str], int]


def figures(pairs: Pairs, labels: Sequence[str]) -> ClassifierFigures | None:
    """Return figures over pairs of true and predicted labels; None without a pair.

    Args:
        pairs: from `of_boxes` or `of_images`.
        labels: the classifier's names.
    """
    if not pairs:
        return None
    deep = len(pairs[0][1]) >= min(5, len(labels))
    named = Counter(
        (labels[true], labels[predicted[0]] if predicted[0] >= 0 else "")
        for true, predicted in pairs
    )
    return ClassifierFigures(
        count=len(pairs),
        top1=sum(true == predicted[0] for true, predicted in pairs) / len(pairs),
        top5=sum(true in predicted[:5] for true, predicted in pairs) / len(pairs) if deep else None,
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
    """Return the pairs of the boxes that were found.

    The true label of a box is its attribute for this classifier, or else the name of its class.

    Args:
        classifier: its name.
        labels: its labels; a true label that is not one of them is left out.
        images: of the set.
        found: detections of each image.
        matches: of each image.
        names: of the set's classes.
    """
    ids = _ids(labels)
    pairs: Pairs = []
    for image, each, match in zip(images, found, matches, strict=True):
        own = image.labels.get(classifier)
        for row, truth in match.right.items():
            name = plain((own[truth] if own else None) or names[image.class_ids[truth]])
            if name in ids and each.label_ids[classifier][row][0] >= 0:
                pairs.append((ids[name], each.label_ids[classifier][row]))
    return pairs


def of_images(
    classifier: str,
    labels: Sequence[str],
    images: Sequence[LabelledImage],
    found: Sequence[Detections],
    names: Sequence[str],
) -> Pairs:
    """Return the pairs of whole images; arguments as for `of_boxes`."""
    ids = _ids(labels)
    truths = (plain(names[image.class_ids[0]]) for image in images)
    return [
        (ids[truth], each.label_ids[classifier][0])
        for truth, each in zip(truths, found, strict=True)
        if truth in ids
    ]


def _ids(labels: Iterable[str]) -> dict[str, int]:
    return {plain(label): i for i, label in enumerate(labels)}
