"""Run a pipeline on a few real images, draw what it finds, and warn about implausible detections.

The parity gate compares the exported stages with their source, but both read the network's outputs
by the same settings: a wrong setting agrees with itself. The detections show it.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from boxwise import PipelineInfo, Result
from boxwise_export.errors import ExportError
from boxwise_export.plan import Plan
from boxwise_export.repository.stage_models import information
from boxwise_runtime.pipeline_runner import PipelineRunner

_TILE = 320  # pixels of an image's longer side on the sheet
_COLUMNS = 4
_CAPTION = 16  # pixels
# Implausible on real images: boxes that fill the image or are a point, and many boxes of one class
# with the same score.
_FILLS = 0.9  # of the image's area
_POINT = 2.0  # pixels of the image
_MANY = 30
_SAME_SCORE = 0.02


@dataclass(frozen=True)
class Observed:
    """The detections of one image.

    Attributes:
        name: of the file.
        frame: RGB uint8 [H, W, 3].
        result: with the pipeline's default thresholds.
    """

    name: str
    frame: NDArray[np.uint8]
    result: Result

    def drawn(self) -> Image.Image:
        """Return the image with its boxes and labels."""
        return self.result.draw(self.frame)


def observe(
    plan: Plan, runner: PipelineRunner, frames: Sequence[tuple[str, NDArray[np.uint8]]]
) -> list[Observed]:
    """Run the stages on images, without options.

    Args:
        plan: of the pipeline.
        runner: of its stages.
        frames: (name, RGB uint8 [H, W, 3]) of each image.

    Raises:
        ExportError: the detector returns a class without a name.
    """
    info = PipelineInfo.from_json(json.dumps(information(plan, {})))
    observed = []
    for name, frame in frames:
        found = runner({"raw_frame": frame})
        if plan.detector and len(found["class_ids"]):
            highest, names = int(found["class_ids"].max()), len(plan.detector.labels)
            if highest >= names:
                raise ExportError(
                    f"detector.labels: {names} names, but the graph gives class {highest} (from 0) "
                    f"on {name}. Add the missing names; where the graph counts from 1, set "
                    "`detector.background: first`"
                )
        observed.append(Observed(name, frame, Result.from_arrays(found, info)))
    return observed


def warnings(
    observed: Sequence[Observed], score_threshold: float, max_detections: int
) -> Iterator[str]:
    """Yield warnings about the detections on all images, each a sentence with what to check."""
    results = [each.result for each in observed]
    counts = [len(result) for result in results]
    if not sum(counts):
        yield (
            f"nothing was found on any of {len(results)} images with a score of "
            f"{score_threshold:g} or more; look at normalize, color_order, activation and family"
        )
        return
    for share, what in (
        (_share(results, _fills), "fill the image"),
        (_share(results, _is_point), "are smaller than 2 pixels"),
    ):
        if share > 0.5 and sum(counts) >= len(results):
            yield (
                f"{share:.0%} of the boxes {what}; look at the box format, its units and the family"
            )
    if repeated := [each.name for each in observed if _is_repeated(each.result)]:
        yield (
            f"{_MANY} or more boxes of one class with nearly one score on {len(repeated)} of "
            f"{len(results)} images ({repeated[0]}, ...); look at background, activation and labels"
        )
    elif min(counts) == max_detections >= _MANY:
        yield (
            f"every image has as many boxes as it may have ({max_detections}); look at "
            "activation and score_threshold"
        )


def contact_sheet(observed: Sequence[Observed]) -> bytes:
    """Return all annotated images on one sheet, as a JPEG."""
    rows = math.ceil(len(observed) / _COLUMNS)
    columns = min(len(observed), _COLUMNS)
    sheet = Image.new("RGB", (columns * _TILE, rows * (_TILE + _CAPTION)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_CAPTION - 4)
    for place, each in enumerate(observed):
        left, top = place % _COLUMNS * _TILE, place // _COLUMNS * (_TILE + _CAPTION)
        tile = each.drawn()
        tile.thumbnail((_TILE, _TILE))
        sheet.paste(tile, (left, top))
        caption = f"{each.name}: {len(each.result)}"
        pen.text((left + 2, top + _TILE), caption, "black", font)
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=85)
    return file.getvalue()


def _share(results: Sequence[Result], absurd: Callable[[Result], NDArray[np.bool_]]) -> float:
    """Describe a share of all boxes."""
    rows = np.concatenate([absurd(result) for result in results])
    return float(rows.mean())


def _sides(result: Result) -> NDArray[np.float32]:
    return result.xyxy[:, 2:] - result.xyxy[:, :2]


def _fills(result: Result) -> NDArray[np.bool_]:
    height, width = result.image_size
    return np.asarray(_sides(result).prod(axis=1) >= _FILLS * height * width)


def _is_point(result: Result) -> NDArray[np.bool_]:
    return np.asarray(_sides(result).max(axis=1, initial=0) < _POINT)


def _is_repeated(result: Result) -> bool:
    for class_id in np.unique(result.class_id):
        scores = result.confidence[result.class_id == class_id]
        if len(scores) >= _MANY and np.ptp(scores) <= _SAME_SCORE:
            return True
    return False
