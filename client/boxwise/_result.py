"""What comes back of one image: columns as numpy arrays, rows to iterate, names from the server's
own labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boxwise import _interop
from boxwise._draw import draw
from boxwise._errors import ContractMismatch, InvalidArgument, InvalidImage
from boxwise._image import ImageLike, to_pil, to_tensor
from boxwise._info import ClassifierInfo, PipelineInfo
from boxwise._request import Tensor

if TYPE_CHECKING:
    import pandas
    import supervision
    from PIL import Image


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


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one call went, in seconds.

    Triton reports no queue and compute times to gRPC clients. Its traces do, and a client's trace
    continues in them (docs/how-to/call-from-python.md).

    Attributes:
        encode_s: reading or encoding the image and building the request; in the first call also
            `info`.
        wait_s: from sending to the response, retries and their pauses included.
        decode_s: reading the response.
        attempts: how often it was sent, hedges included.
    """

    encode_s: float
    wait_s: float
    decode_s: float
    attempts: int


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Every object in one image, best score first: rows of `Detection`, and read-only columns.

    It keeps the sent image for `draw`.

    Attributes:
        xyxy: float32 [n, 4], x1 y1 x2 y2 in pixels of the image as shown.
        confidence: float32 [n], the detector's scores.
        class_id: int32 [n], indices into `info.detector.labels`; -1 without a detector.
        image_size: height and width of the image as shown.
        label_ids: for each classifier int32 [n, k]; -1 where it did not run, or has no more labels.
        label_scores: for each classifier float32 [n, k].
        info: the pipeline that responded.
        timings: of the call; None if the result was not made by one.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    image_size: tuple[int, int]
    label_ids: Mapping[str, NDArray[np.int32]]
    label_scores: Mapping[str, NDArray[np.float32]]
    info: PipelineInfo
    _source: Tensor | None = None
    timings: Timings | None = None

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        info: PipelineInfo,
        source: Tensor | None = None,
        timings: Timings | None = None,
    ) -> Result:
        """Return the result in the outputs of a pipeline, by their names in the contract.

        Raises:
            ContractMismatch: an output is missing or has another shape than the contract's.
        """
        boxes = _column(arrays, "boxes", (None, 4))
        n = len(boxes)
        height, width = _column(arrays, "image_size", (2,)).tolist()
        label_ids = {
            each.name: _column(arrays, f"{each.name}_ids", (n, None)) for each in info.classifiers
        }
        return cls(
            xyxy=boxes,
            confidence=_column(arrays, "scores", (n,)),
            class_id=_column(arrays, "class_ids", (n,)),
            image_size=(height, width),
            label_ids=label_ids,
            label_scores={
                name: _column(arrays, f"{name}_scores", ids.shape)
                for name, ids in label_ids.items()
            },
            info=info,
            _source=source,
            timings=timings,
        )

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
            f"<Result {len(self)} in {width} x {height}: "
            f"{seen or 'nothing'}{', ...' if len(self) > 3 else ''}>"
        )

    def draw(self, image: ImageLike | None = None) -> Image.Image:
        """Return a copy of the image with every detection drawn on it.

        Args:
            image: draw on this image instead of the sent one; it must have the same size.

        Raises:
            InvalidImage: the image has another size, or cannot be decoded here.
        """
        return draw(self._canvas(image), self.detections)

    def crops(self, image: ImageLike | None = None) -> list[Image.Image]:
        """Return the content of each box, at least one pixel, in row order; see `draw`."""
        canvas = self._canvas(image)
        cut = []
        for x1, y1, x2, y2 in self.xyxy.tolist():
            left, top = min(int(x1), canvas.width - 1), min(int(y1), canvas.height - 1)
            cut.append(canvas.crop((left, top, max(left + 1, round(x2)), max(top + 1, round(y2)))))
        return cut

    def to_dict(self) -> dict[str, Any]:
        """The result in plain types, ready for JSON.

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

    def to_supervision(self) -> supervision.Detections:
        """Return `supervision.Detections`; labels are in `data`, under the contract's names."""
        return _interop.to_supervision(self)

    def to_coco(
        self, image_id: int = 0, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Return COCO's results format, one dictionary per row.

        Args:
            image_id: of the image.
            category_ids: for each class its id in the annotations; default: the index of the class.
        """
        return _interop.to_coco(self, image_id, category_ids)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a pandas DataFrame, one row per detection.

        A classifier has the columns `<name>_id`, `_label`, `_score`, `_id_2`, ...
        """
        return _interop.to_pandas(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], info: PipelineInfo) -> Result:
        """Return the result that `to_dict` described; `info` is `Client.info()`."""
        return cls.from_arrays(_interop.from_dict(document, info), info)

    @classmethod
    def from_json(cls, document: str, info: PipelineInfo) -> Result:
        """Return the result that `to_json` described."""
        return cls.from_dict(json.loads(document), info)

    @classmethod
    def from_supervision(cls, detections: supervision.Detections, info: PipelineInfo) -> Result:
        """Return the result that `to_supervision` described."""
        return cls.from_arrays(_interop.from_supervision(detections, info), info)

    @classmethod
    def from_coco(
        cls,
        annotations: Sequence[Mapping[str, Any]],
        info: PipelineInfo,
        image_size: tuple[int, int],
        category_ids: Sequence[int] | None = None,
    ) -> Result:
        """Return the result that `to_coco` described; `image_size` is height, width."""
        return cls.from_arrays(
            _interop.from_coco(annotations, info, image_size, category_ids), info
        )

    @classmethod
    def from_pandas(cls, frame: pandas.DataFrame, info: PipelineInfo) -> Result:
        """Return the result that `to_pandas` described."""
        return cls.from_arrays(_interop.from_pandas(frame, info), info)

    def _canvas(self, image: ImageLike | None) -> Image.Image:
        source = self._source if image is None else to_tensor(image)
        if source is None:
            raise InvalidArgument(
                "image: this result was not made by a call, so its image must be given"
            )
        canvas = to_pil(source)
        if (canvas.height, canvas.width) != self.image_size:
            height, width = self.image_size
            raise InvalidImage(
                f"image: this result belongs to an image of {width} x {height} pixels, "
                f"got one of {canvas.width} x {canvas.height}"
            )
        return canvas

    def _labels(self, classifier: ClassifierInfo) -> list[tuple[Label, ...]]:
        """A classifier's labels for each row; -1 pads what it was not asked, or had no more to say
        of.
        """
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


def _column(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """The output `name`, which must be of this shape; None stands for any length."""
    if name not in arrays:
        raise ContractMismatch(
            f"the reply has no output {name!r}, only {', '.join(arrays) or 'none at all'}"
        )
    array = arrays[name]
    found = array.shape
    if len(found) != len(shape) or any(map(_differs, shape, found)):
        expected = ["any" if length is None else length for length in shape]
        raise ContractMismatch(f"{name}: expected shape {expected}, got {list(found)}")
    return array


def _differs(expected: int | None, found: int) -> bool:
    return expected is not None and expected != found
