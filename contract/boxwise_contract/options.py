"""What a request may ask for, and how a stage reads it.

A new option is a key of `RequestOptions` and a row of `OPTIONS` here; the templates' inputs, the
client's keywords and the reference are made from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from boxwise_contract.refusals import InvalidInput
from boxwise_contract.tensors import Tensors, TensorSpec


class RequestOptions(TypedDict, total=False):
    """The options of one request; what is left out or None is the pipeline's own.

    Attributes:
        score_threshold: 0 to 1; keep detections that score at least this.
        iou_threshold: 0 to 1; of boxes of one class that overlap more, keep the best.
        max_detections: 1 to the exported maximum; keep the best of them.
        class_filter: keep these detector classes only, by their ids.
    """

    score_threshold: float | None
    iou_threshold: float | None
    max_detections: int | None
    class_filter: Sequence[int] | None


OPTIONS = (
    TensorSpec(
        "score_threshold",
        "FP32",
        (1,),
        "0 to 1: keep detections that score at least this. Left out, the pipeline's default.",
    ),
    TensorSpec(
        "iou_threshold",
        "FP32",
        (1,),
        "0 to 1: of boxes of one class that overlap more, keep the best. Left out, the "
        "pipeline's default.",
    ),
    TensorSpec(
        "max_detections",
        "INT32",
        (1,),
        "1 to the exported maximum: keep the best of them. Left out, that maximum.",
    ),
    TensorSpec(
        "class_filter",
        "INT32",
        (-1,),
        "Keep these detector classes only, by their ids; an empty one is refused. Left out, all.",
    ),
)
"""The optional inputs of every pipeline, in the order of its configuration."""


@dataclass(frozen=True)
class Thresholds:
    """What NMS keeps; stages pass it on as one tensor.

    Attributes:
        score_threshold: 0 to 1; a detection scores at least this.
        iou_threshold: 0 to 1; of boxes of one class that overlap more, the best is kept.
        max_detections: 1 to the exported maximum.
    """

    score_threshold: float
    iou_threshold: float
    max_detections: int

    def read(self, inputs: Tensors) -> Thresholds:
        """The thresholds of a request; those that it leaves out are these.

        Args:
            inputs: may hold `score_threshold` float32 [1], `iou_threshold` float32 [1],
                `max_detections` int32 [1]; the latter is at most this one's.

        Raises:
            InvalidInput: names the input, the range and what came.
        """
        return Thresholds(
            _fraction(inputs, "score_threshold", self.score_threshold),
            _fraction(inputs, "iou_threshold", self.iou_threshold),
            _count(inputs, "max_detections", self.max_detections),
        )

    @classmethod
    def shape(cls) -> tuple[int]:
        """Of the tensor: a number for each field."""
        return (len(fields(cls)),)

    def pack(self) -> NDArray[np.float32]:
        """As a tensor, float32 of `shape`; counts up to 2^24 are exact in it."""
        return np.array(astuple(self), np.float32)

    @classmethod
    def unpack(cls, tensor: NDArray[np.float32]) -> Thresholds:
        """The thresholds in a tensor of `pack`."""
        score_threshold, iou_threshold, max_detections = tensor.tolist()
        return cls(score_threshold, iou_threshold, int(max_detections))


def read_class_filter(inputs: Tensors, class_count: int) -> NDArray[np.int32]:
    """The detector classes to keep, int32 [f]; an empty array keeps all.

    Args:
        inputs: may hold `class_filter` int32 [f].
        class_count: of the detector; 0 where the pipeline has none.

    Raises:
        InvalidInput: the filter is empty, names a class that the detector does not have, or there
            is no detector.
    """
    asked = inputs.get("class_filter")
    if asked is None:
        return np.empty(0, np.int32)
    if class_count == 0:
        raise InvalidInput(
            "class_filter: this pipeline has no detector, so it has no classes to keep; leave it "
            "out"
        )
    if asked.size == 0:
        raise InvalidInput("class_filter: empty; leave it out to keep every class")
    class_ids = asked.astype(np.int32)
    unknown = class_ids[(class_ids < 0) | (class_ids >= class_count)]
    if unknown.size:
        raise InvalidInput(
            f"class_filter: expected class ids from 0 to {class_count - 1}, got {unknown[0]}"
        )
    return class_ids


def _fraction(inputs: Tensors, name: str, default: float) -> float:
    if name not in inputs:
        return default
    value = float(inputs[name].item())
    if not 0 <= value <= 1:  # NaN is outside as well
        raise InvalidInput(f"{name}: expected a number from 0 to 1, got {value:g}")
    return value


def _count(inputs: Tensors, name: str, maximum: int) -> int:
    if name not in inputs:
        return maximum
    value = int(inputs[name].item())
    if not 1 <= value <= maximum:
        raise InvalidInput(
            f"{name}: expected 1 to {maximum}, which this pipeline was exported with, got {value}"
        )
    return value
