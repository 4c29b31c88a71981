"""What the tutorials' models have in common: settings, and pixels as floats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_settings(args: Mapping[str, str]) -> dict[str, Any]:
    """The JSON in the parameter `settings` of a model's config.pbtxt."""
    settings: dict[str, Any] = json.loads(
        json.loads(args["model_config"])["parameters"]["settings"]["string_value"]
    )
    return settings


def as_network_input(
    pixels: NDArray[np.uint8], mean: list[float], std: list[float], layout: str
) -> NDArray[np.float32]:
    """Pixels uint8 [B, H, W, 3] -> float32, (pixels - mean) / std, as NCHW or NHWC; contiguous."""
    values = pixels.astype(np.float32)
    if any(mean):
        values -= np.array(mean, np.float32)
    if any(each != 1 for each in std):
        values *= 1 / np.array(std, np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if layout == "NCHW" else values
