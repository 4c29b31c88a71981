"""The parity gate: compare every part of a pipeline with its source, on real images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxwise_contract.limits import ImageLimits
from boxwise_contract.refusals import InvalidInput
from boxwise_export.errors import ExportError
from boxwise_export.parity.classifier import check_classifier
from boxwise_export.parity.detector import check_detector
from boxwise_export.parity.limits import Limits
from boxwise_export.parity.report import ParityReport, Step
from boxwise_export.plan import Plan
from boxwise_runtime.canvas import resize_to
from boxwise_runtime.decode import decode
from boxwise_runtime.pipeline_runner import PipelineRunner

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_IMAGES = 16
_MOST_PIXELS = 200_000_000


def check_parity(
    plan: Plan, runner: PipelineRunner, images: Sequence[Path], limits: Limits
) -> ParityReport:
    """Run the source and the exported stages side by side.

    Args:
        plan: of the pipeline, with its sources.
        runner: of the stages to publish.
        images: files; 16 of them, evenly spread, are used.
        limits: the allowed differences.

    Raises:
        ExportError: an image cannot be read.
    """
    chosen = spread(images, MOST_IMAGES)
    frames = [read_image(path, plan.limits.max_pixels) for path in chosen]
    steps: list[Step] = []
    if plan.detector:
        steps += check_detector(plan.detector, runner, frames, limits)
    for classifier in plan.classifiers:
        steps += check_classifier(classifier, runner, frames, limits)
    title = f"{len(chosen)} images of {chosen[0].parent.name}"
    return ParityReport(plan.precision, title, tuple(steps))


def find_images(folder: Path, option: str = "--calibration") -> list[Path]:
    """Return the images of a folder and its subfolders, in a fixed order, without hidden files.

    Raises:
        ExportError: no such folder, or no images; names the option.
    """
    if not folder.is_dir():
        raise ExportError(f"{option}: no such folder: {folder}")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise ExportError(f"{option}: no images in {folder}; expected {', '.join(SUFFIXES)}")
    return found


def spread(images: Sequence[Path], most: int) -> list[Path]:
    """Return at most so many, evenly spread."""
    rows = np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int)
    return [images[row] for row in rows]


def read_image(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """Decode an image as the pipeline does, RGB uint8 [H, W, 3], shrunk to the pipeline's limit."""
    try:
        frame = decode(np.fromfile(path, np.uint8), ImageLimits(max_pixels=_MOST_PIXELS))
    except (InvalidInput, OSError) as error:
        raise ExportError(
            f"{path}: not an image that the pipeline can read ({error}); take it out"
        ) from error
    height, width = frame.shape[:2]
    scale = (max_pixels / (height * width)) ** 0.5
    return (
        frame
        if scale >= 1
        else resize_to(frame, max(1, int(height * scale)), max(1, int(width * scale)), "area")
    )
