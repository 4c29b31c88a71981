"""What comes back of one picture: columns as numpy arrays, rows to iterate, names from the server's own labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boxwise._draw import draw
from boxwise._errors import ContractMismatch, InvalidInput
from boxwise._image import ImageLike, to_pil, to_tensor
from boxwise._info import ClassifierInfo, PipelineInfo
from boxwise._request import Tensor

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Label:
    """What a classifier says: an index into its labels, the name there, and a score from 0 to 1."""

    id: int
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Detection:
    """One object.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the picture as shown.
        score: the detector's, from 0 to 1.
        class_id: an index into the detector's labels; -1 where there is no detector.
        class_name: the name there; "image" where there is no detector.
        labels: for each classifier that was asked about this object its labels, best first; empty for the others.
    """

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    class_name: str
    labels: Mapping[str, tuple[Label, ...]]

    @property
    def best_label(self) -> Label | None:
        """Of all classifiers' labels the one with the best score; None where none was asked."""
        every = [label for labels in self.labels.values() for label in labels]
        return max(every, key=lambda label: label.score, default=None)

    def to_dict(self) -> dict[str, Any]:
        """As in `Result.to_dict`."""
        return {
            "box": list(self.box),
            "score": self.score,
            "class_id": self.class_id,
            "class_name": self.class_name,
            "labels": {
                classifier: [{"id": label.id, "name": label.name, "score": label.score} for label in labels]
                for classifier, labels in self.labels.items()
            },
        }


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Every object in one picture, best score first: a sequence of `Detection`, and the same as read-only columns.

    It keeps what was sent of the picture, for `draw`.

    Attributes:
        boxes: float32 [n, 4], x1 y1 x2 y2 in pixels of the picture as shown.
        scores: float32 [n].
        class_ids: int32 [n].
        image_size: height and width of the picture as shown.
        label_ids: for each classifier int32 [n, k]; -1 where it was not asked or has no more to say.
        label_scores: for each classifier float32 [n, k].
        info: the pipeline that answered.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    image_size: tuple[int, int]
    label_ids: Mapping[str, NDArray[np.int32]]
    label_scores: Mapping[str, NDArray[np.float32]]
    info: PipelineInfo
    _picture: Tensor

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], info: PipelineInfo, picture: Tensor) -> Result:
        """The result in the outputs of a pipeline, by their names in the contract.

        Raises:
            ContractMismatch: an output is missing, or does not have the shape that the contract gives it.
        """
        boxes = _column(arrays, "boxes", (None, 4))
        n = len(boxes)
        height, width = _column(arrays, "image_size", (2,)).tolist()
        label_ids = {each.name: _column(arrays, f"{each.name}_ids", (n, None)) for each in info.classifiers}
        return cls(
            boxes=boxes,
            scores=_column(arrays, "scores", (n,)),
            class_ids=_column(arrays, "class_ids", (n,)),
            image_size=(height, width),
            label_ids=label_ids,
            label_scores={name: _column(arrays, f"{name}_scores", ids.shape) for name, ids in label_ids.items()},
            info=info,
            _picture=picture,
        )

    @cached_property
    def detections(self) -> tuple[Detection, ...]:
        """The rows, made when first asked for."""
        labels = [self._labels(each) for each in self.info.classifiers]
        columns = zip(self.boxes.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True)
        return tuple(
            Detection(
                box=tuple(box),
                score=score,
                class_id=class_id,
                class_name=self.info.class_name(class_id),
                labels={each.name: rows[i] for each, rows in zip(self.info.classifiers, labels, strict=True)},
            )
            for i, (box, score, class_id) in enumerate(columns)
        )

    def __iter__(self) -> Iterator[Detection]:
        return iter(self.detections)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> Detection:
        return self.detections[index]

    def __repr__(self) -> str:
        height, width = self.image_size
        seen = ", ".join(f"{each.class_name} {each.score:.2f}" for each in self.detections[:3])
        return f"<Result {len(self)} in {width} x {height}: {seen or 'nothing'}{', ...' if len(self) > 3 else ''}>"

    def draw(self, image: ImageLike | None = None) -> Image.Image:
        """A copy of the picture with every detection drawn on it.

        Args:
            image: draw on this one instead of what was sent; it must have the same size.

        Raises:
            InvalidInput: a picture of another size, or one that can not be decoded here.
        """
        canvas = to_pil(self._picture if image is None else to_tensor(image))
        if (canvas.height, canvas.width) != self.image_size:
            height, width = self.image_size
            raise InvalidInput(
                f"image: this result belongs to a picture of {width} x {height} pixels, "
                f"got one of {canvas.width} x {canvas.height}"
            )
        return draw(canvas, self.detections)

    def to_dict(self) -> dict[str, Any]:
        """The result in plain types, ready for JSON.

        Returns:
            `{"image_size": [h, w], "detections": [{"box": [x1, y1, x2, y2], "score", "class_id", "class_name",
            "labels": {"<classifier>": [{"id", "name", "score"}, ...]}}]}`.
        """
        return {"image_size": list(self.image_size), "detections": [each.to_dict() for each in self.detections]}

    def _labels(self, classifier: ClassifierInfo) -> list[tuple[Label, ...]]:
        """A classifier's labels for each row; -1 pads what it was not asked, or had no more to say of."""
        rows = zip(self.label_ids[classifier.name].tolist(), self.label_scores[classifier.name].tolist(), strict=True)
        return [
            tuple(
                Label(label, classifier.label_name(label), score)
                for label, score in zip(ids, scores, strict=True)
                if label >= 0
            )
            for ids, scores in rows
        ]


def _column(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """The output `name`, which must be of this shape; None stands for any length."""
    if name not in arrays:
        raise ContractMismatch(f"the reply has no output {name!r}, only {', '.join(arrays) or 'none at all'}")
    array = arrays[name]
    if len(array.shape) != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        expected = ["any" if length is None else length for length in shape]
        raise ContractMismatch(f"{name}: expected shape {expected}, got {list(array.shape)}")
    return array
