"""The objects of one image: rows to iterate, columns as numpy arrays, and their labels' names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise._info import ClassifierInfo, PipelineInfo


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a classifier: its id (an index into the labels), its name, a score from 0 to 1."""

    id: int
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Detection:
    """One object.

    Attributes:
        xyxy: x1, y1, x2, y2 in pixels of the image as shown.
        confidence: the detector's score, 0 to 1.
        class_id: index into the detector's labels; -1 without a detector.
        class_name: its name; "image" without a detector.
        labels: for each classifier that ran on this object its labels, best first; empty for
            others.
    """

    xyxy: tuple[float, float, float, float]
    confidence: float
    class_id: int
    class_name: str
    labels: Mapping[str, tuple[Label, ...]]

    @property
    def best_label(self) -> Label | None:
        """The label with the best score over all classifiers; None if none ran on this object."""
        every = [label for labels in self.labels.values() for label in labels]
        return max(every, key=lambda label: label.score, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the detection as in `Result.to_dict`."""
        return {
            "xyxy": list(self.xyxy),
            "confidence": self.confidence,
            "class_id": self.class_id,
            "class_name": self.class_name,
            "labels": {
                classifier: [
                    {"id": label.id, "name": label.name, "score": label.score} for label in labels
                ]
                for classifier, labels in self.labels.items()
            },
        }


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Every object in one image, best score first: rows of `Detection`, and read-only columns.

    Attributes:
        xyxy: float32 [n, 4], x1 y1 x2 y2 in pixels of the image as shown.
        confidence: float32 [n], the detector's scores.
        class_id: int32 [n], indices into `info.detector.labels`; -1 without a detector.
        image_size: height and width of the image as shown.
        label_ids: for each classifier int32 [n, k]; -1 where it did not run, or has no more labels.
        label_scores: for each classifier float32 [n, k].
        info: the pipeline that responded.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    image_size: tuple[int, int]
    label_ids: Mapping[str, NDArray[np.int32]]
    label_scores: Mapping[str, NDArray[np.float32]]
    info: PipelineInfo

    @cached_property
    def detections(self) -> tuple[Detection, ...]:
        """The rows, created on first use."""
        labels = [self._labels(each) for each in self.info.classifiers]
        columns = zip(
            self.xyxy.tolist(), self.confidence.tolist(), self.class_id.tolist(), strict=True
        )
        return tuple(
            Detection(
                xyxy=tuple(box),
                confidence=score,
                class_id=class_id,
                class_name=self.info.class_name(class_id),
                labels={
                    each.name: rows[i]
                    for each, rows in zip(self.info.classifiers, labels, strict=True)
                },
            )
            for i, (box, score, class_id) in enumerate(columns)
        )

    def __iter__(self) -> Iterator[Detection]:
        return iter(self.detections)

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: int) -> Detection:
        return self.detections[index]

    def __repr__(self) -> str:
        height, width = self.image_size
        seen = ", ".join(f"{each.class_name} {each.confidence:.2f}" for each in self.detections[:3])
        return (
            f"<{type(self).__name__} {len(self)} in {width} x {height}: "
            f"{seen or 'nothing'}{', ...' if len(self) > 3 else ''}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result in plain types, ready for JSON.

        Returns:
            `{"image_size": [h, w], "detections": [{"xyxy": [x1, y1, x2, y2], "confidence",
            "class_id", "class_name", "labels": {"<classifier>": [{"id", "name", "score"},
            ...]}}]}`.
        """
        return {
            "image_size": list(self.image_size),
            "detections": [each.to_dict() for each in self.detections],
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON; floats keep every bit."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def _labels(self, classifier: ClassifierInfo) -> list[tuple[Label, ...]]:
        """Return a classifier's labels for each row; ids of -1 are padding."""
        rows = zip(
            self.label_ids[classifier.name].tolist(),
            self.label_scores[classifier.name].tolist(),
            strict=True,
        )
        return [
            tuple(
                Label(label, classifier.label_name(label), score)
                for label, score in zip(ids, scores, strict=True)
                if label >= 0
            )
            for ids, scores in rows
        ]
