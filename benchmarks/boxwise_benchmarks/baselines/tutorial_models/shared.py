"""Shared by the tutorials' models: settings, and pixels as floats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_settings(args: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON in the parameter `settings` of a model's config.pbtxt."""
    settings: dict[str, Any] = json.loads(
        json.loads(args["model_config"])["parameters"]["settings"]["string_value"]
    )
    return settings


def as_network_input(
    pixels: NDArray[np.uint8], mean: list[float], std: list[float], layout: str
) -> NDArray[np.float32]:
    """Return (pixels - mean) / std, contiguous float32 NCHW or NHWC, of uint8 [B, H, W, 3]."""
    values = pixels.astype(np.float32)
    if any(mean):
        values -= np.array(mean, np.float32)
    if any(each != 1 for each in std):
        values *= 1 / np.array(std, np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if layout == "NCHW" else values
