"""Warm-up: a model serves a request before it reports ready, or it is not loaded. So the first
request is as fast as the next.
"""

from __future__ import annotations

import asyncio  # noqa: F401 (Triton's stub imports it with the first request, which takes 15 ms)
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boxwise_contract.limits import ImageLimits
from boxwise_contract.options import Thresholds
from boxwise_contract.refusals import InvalidInput
from boxwise_runtime.canvas import Geometry, resize_to
from boxwise_runtime.decode import EncodedImage
from boxwise_runtime.pipeline_runner import PipelineRunner
from boxwise_runtime.session import OnnxGraph
from boxwise_runtime.stages import OnnxStage, Suppress

IMAGE = "warmup.jpg"  # in the folder of the version of the stage that decodes
_SIDES = (640, 320, 160, 80, 40, 20, 1)
# Inputs of nms beside candidates, as `stages.Preprocess` makes them of a square black image.
_BLACK: dict[str, NDArray[Any]] = {
    "frame": np.zeros((_SIDES[0], _SIDES[0], 3), np.uint8),
    "geometry": np.array(Geometry(_SIDES[0], _SIDES[0], 1, 1, 0, 0), np.float32),
    "thresholds": Thresholds(0.0, 1.0, 100).pack(),
    "class_filter": np.zeros(0, np.int32),
    "canvas": np.zeros((1, _SIDES[0], _SIDES[0], 3), np.uint8),
}


def encode(frame: NDArray[np.uint8], limits: ImageLimits) -> bytes:
    """Encode an image for the warm-up, as a JPEG of at most 640 pixels a side.

    Args:
        frame: uint8 [H, W, 3], RGB.
        limits: of the pipeline; the image is made smaller, or cut to a square, to be within them.

    Returns:
        The file; empty if the limits refuse every size.
    """
    shorter = min(frame.shape[:2])
    for most in _SIDES:
        for part in (frame, frame[:shorter, :shorter]):
            height, width = part.shape[:2]
            scale = min(1, most / max(height, width))
            small = resize_to(part, max(1, int(height * scale)), max(1, int(width * scale)), "area")
            file = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
            try:
                EncodedImage(file, limits)
            except InvalidInput:
                continue
            return file.tobytes()
    return b""


def warm_up(stage: Any, folder: Path) -> None:
    """Run a stage as requests will.

    A stage that decodes gets the published image. Graphs also get blank inputs, since the image may
    have no object for each of them. Networks that are models of their own cannot be called yet;
    they warm up themselves.

    Args:
        stage: of any kind.
        folder: of the model's version.

    Raises:
        RuntimeError: the stage failed, and why.
    """
    try:
        _run(stage, next(folder.glob(IMAGE), None) or next(folder.glob(f"stages/*/{IMAGE}"), None))
    except Exception as error:
        raise RuntimeError(
            f"this version fails its warm-up request and is not served ({type(error).__name__}: "
            f"{error}): `boxwise rollback` goes back to the one before"
        ) from error


def _run(stage: Any, image: Path | None) -> None:
    """Run a stage on the inputs that exist for it; an older boxwise published no image."""
    request = {"image": np.fromfile(image, np.uint8)} if image else {}
    if isinstance(stage, OnnxStage):
        stage.graph.run_blank()
    elif isinstance(stage, Suppress):
        asked = [only[0] for crop in stage.crops.values() if (only := crop.get("only"))]
        stage(_BLACK | _found(_BLACK, asked or [0]))
    elif runner := getattr(stage, "runner", None):
        for graph in (runner.detector, *runner.classifiers.values()):
            if isinstance(graph, OnnxGraph):
                graph.run_blank()
        if request:
            _without_calls(runner)(request)
    elif request:
        stage(request)


def _without_calls(runner: PipelineRunner) -> PipelineRunner:
    """Return the runner with constants in place of networks that are models of their own."""
    detector = runner.detector
    return replace(
        runner,
        detector=detector if detector is None or isinstance(detector, OnnxGraph) else _found,
        classifiers={
            name: graph
            if isinstance(graph, OnnxGraph)
            else partial(_labelled, top_k=runner.top_k[name])
            for name, graph in runner.classifiers.items()
        },
    )


def _found(
    inputs: Mapping[str, NDArray[Any]], class_ids: Sequence[int] = (0,)
) -> dict[str, NDArray[Any]]:
    """Return candidates that cover the canvas, one of each class."""
    height, width = inputs["canvas"].shape[1:3]
    count = len(class_ids)
    return {
        "candidate_boxes": np.array([[[0, 0, width, height]] * count], np.float32),
        "candidate_scores": np.ones((1, count), np.float32),
        "candidate_classes": np.array([class_ids], np.int32),
    }


def _labelled(inputs: Mapping[str, NDArray[Any]], top_k: int) -> dict[str, NDArray[Any]]:
    shape = len(inputs["crops"]), top_k
    return {"label_ids": np.zeros(shape, np.int32), "label_scores": np.zeros(shape, np.float32)}
