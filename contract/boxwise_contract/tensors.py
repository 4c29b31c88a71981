"""What a request and a response hold: the name, type, shape and meaning of each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""The version of the contract; the `contract` of a pipeline's info document."""

Datatype = Literal["UINT8", "INT32", "FP32", "BYTES"]
"""The types of the Open Inference Protocol that the contract uses."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "INT32": np.dtype("<i4"),
    "FP32": np.dtype("<f4"),
}
"""Datatype -> numpy's, little-endian as on the wire. BYTES has none: each string has a length."""

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
"""Tensors by their names."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the contract.

    Attributes:
        name: on the wire.
        datatype: of its elements.
        shape: its dimensions; -1 where a dimension has any size.
        meaning: one sentence: what it holds, in which unit and range.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    meaning: str


IMAGE = TensorSpec("image", "UINT8", (-1,), "One encoded file: JPEG, PNG, WebP or BMP.")
FRAME = TensorSpec(
    "frame", "UINT8", (-1, -1, 3), "RGB pixels, of `<pipeline>_raw` in place of `image`."
)

DETECTIONS = (
    TensorSpec(
        "boxes",
        "FP32",
        (-1, 4),
        "x1 y1 x2 y2 in pixels of the image as shown (EXIF applied), clipped to it, best score "
        "first.",
    ),
    TensorSpec("scores", "FP32", (-1,), "The detector's, 0 to 1; 1 for the whole image."),
    TensorSpec("class_ids", "INT32", (-1,), "The detector's classes; -1 for the whole image."),
    TensorSpec("image_size", "INT32", (2,), "Height and width of the image as shown."),
)

INFO = TensorSpec("info", "BYTES", (1,), "The pipeline's description, a JSON document.")


def label_tensors(classifier: str, top_k: int) -> tuple[TensorSpec, TensorSpec]:
    """The outputs of one classifier: ids and scores of the `top_k` best labels of each box."""
    return (
        TensorSpec(
            f"{classifier}_ids",
            "INT32",
            (-1, top_k),
            "Labels of each box, best first; -1 where the classifier did not run on it, or has "
            "no more.",
        ),
        TensorSpec(
            f"{classifier}_scores",
            "FP32",
            (-1, top_k),
            "Their scores, 0 to 1; 0 where the id is -1.",
        ),
    )


def raw_model(pipeline: str) -> str:
    """The model that takes `frame`."""
    return f"{pipeline}_raw"


def info_model(pipeline: str) -> str:
    """The model that takes nothing and returns `info`."""
    return f"{pipeline}_info"
