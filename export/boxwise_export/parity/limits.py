"""How much an export may differ from its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boxwise_export.pipeline import Precision, Tolerances


@dataclass(frozen=True)
class Limits:
    """`tolerances:` of a pipeline file, with defaults filled in; see `pipeline.Tolerances`."""

    pixels: float
    outputs: float
    iou: float
    score: float
    agreement: float
    accuracy: float


# fp32: ONNX Runtime against another framework, or against itself with other fusions: 1e-6 to 1e-4
# of the largest value were measured. fp16 keeps 11 bits, int8 8 bits of a range measured on a few
# images.
_DEFAULTS: dict[Precision, Limits] = {
    "fp32": Limits(pixels=8.0, outputs=1e-3, iou=0.99, score=1e-3, agreement=0.99, accuracy=0.005),
    "fp16": Limits(pixels=8.0, outputs=0.05, iou=0.9, score=0.02, agreement=0.95, accuracy=0.002),
    "int8": Limits(pixels=8.0, outputs=0.5, iou=0.8, score=0.2, agreement=0.75, accuracy=0.02),
}


def limits_of(tolerances: Tolerances, precision: Precision) -> Limits:
    """Return the pipeline file's tolerances, with the defaults of the precision."""
    said: dict[str, Any] = tolerances.model_dump(exclude_none=True)
    return Limits(**vars(_DEFAULTS[precision]) | said)
