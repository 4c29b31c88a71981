"""What a request may ask for, and the limits it is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwise_runtime.errors import InvalidInput

Tensors = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Settings:
    """The thresholds of one request.

    Attributes:
        score_threshold: 0 to 1; a detection scores at least this.
        iou_threshold: 0 to 1; boxes of one class that overlap more are one object.
        max_detections: 1 to the exported maximum.
    """

    score_threshold: float
    iou_threshold: float
    max_detections: int


def read_settings(inputs: Tensors, defaults: Settings) -> Settings:
    """Read the optional inputs of a request; what is left out is the pipeline's default.

    Args:
        inputs: may hold `score_threshold` float32 [1], `iou_threshold` float32 [1],
            `max_detections` int32 [1].
        defaults: the pipeline's; its `max_detections` is also the most that can be asked for.

    Raises:
        InvalidInput: names the input, the range and what came.
    """
    return Settings(
        _fraction(inputs, "score_threshold", defaults.score_threshold),
        _fraction(inputs, "iou_threshold", defaults.iou_threshold),
        _count(inputs, "max_detections", defaults.max_detections),
    )


def read_class_filter(inputs: Tensors, class_count: int) -> NDArray[np.int32]:
    """Read the detector classes to keep, int32 [f]; none means all.

    Raises:
        InvalidInput: the filter is empty, names a class that the detector does not have, or there
            is no detector.
    """
    asked = inputs.get("class_filter")
    if asked is None:
        return np.empty(0, np.int32)
    if class_count == 0:
        raise InvalidInput(
            "class_filter: this pipeline has no detector, so it has no classes to keep; "
            "leave it out"
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
