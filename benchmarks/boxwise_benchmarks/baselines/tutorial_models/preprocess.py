"""From an encoded image to the detector's float32 input, the frame, and their geometry."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from boxwise_benchmarks.baselines.tutorial_models.shared import as_network_input, read_settings
from boxwise_contract.limits import ImageLimits
from boxwise_runtime.canvas import draw, fit
from boxwise_runtime.decode import decode


class TritonPythonModel:
    """Decodes, letterboxes and normalises."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the settings."""
        cv2.setNumThreads(1)
        self._settings = read_settings(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Respond to each request."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        settings = self._settings
        encoded = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        frame = decode(encoded, ImageLimits(max_pixels=settings["max_pixels"]))
        height, width = settings["canvas_height"], settings["canvas_width"]
        geometry = fit(frame.shape[0], frame.shape[1], height, width, settings["resize"])
        canvas = np.empty((1, height, width, 3), np.uint8)
        draw(
            frame,
            geometry,
            canvas[0],
            pad_value=settings["pad_value"],
            interpolation=settings["interpolation"],
            color_order=settings["color_order"],
        )
        values = as_network_input(canvas, settings["mean"], settings["std"], settings["layout"])
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(settings["input"], values),
                pb_utils.Tensor("frame", frame),
                pb_utils.Tensor("geometry", np.array(geometry, np.float32)),
            ]
        )
