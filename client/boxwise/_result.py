"""The result of one call: its detections, drawn, cropped, and in other libraries' types.

arrays of the contract ─▶ Detections (_detections.py) ─▶ Result ─▶ _draw.py, _interop.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from boxwise import _interop
from boxwise._detections import Detections
from boxwise._draw import draw
from boxwise._errors import ContractMismatch, InvalidArgument, InvalidImage
from boxwise._image import ImageLike, to_pil, to_tensor
from boxwise._info import PipelineInfo
from boxwise._request import Tensor

if TYPE_CHECKING:
    import pandas
    import supervision
    from PIL import Image


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
class Result(Detections):
    """Every object in one image, best score first: rows of `Detection`, and read-only columns.

    It keeps the sent image for `draw`.

    Attributes:
        xyxy, confidence, class_id, image_size, label_ids, label_scores, info: see `Detections`.
        timings: of the call; None if the result was not made by one.
    """

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


def _column(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """Return the output `name`, which must have this shape; None stands for any length."""
    if name not in arrays:
        raise ContractMismatch(
            f"the response has no output {name!r}, only {', '.join(arrays) or 'none at all'}"
        )
    array = arrays[name]
    found = array.shape
    if len(found) != len(shape) or any(map(_differs, shape, found)):
        expected = ["any" if length is None else length for length in shape]
        raise ContractMismatch(f"{name}: expected shape {expected}, got {list(found)}")
    return array


def _differs(expected: int | None, found: int) -> bool:
    return expected is not None and expected != found
