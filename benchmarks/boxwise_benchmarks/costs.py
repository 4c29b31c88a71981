"""`python -m boxwise_benchmarks.costs`: CPU time of our own stages on one core, by image size."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from boxwise_benchmarks.measure import machine
from boxwise_contract.limits import ImageLimits
from boxwise_contract.options import Thresholds
from boxwise_export.demo import prepare_demo
from boxwise_export.repository.runner import load_runner
from boxwise_perf.images import noise
from boxwise_perf.null import nullify
from boxwise_runtime.cache import cache_folder
from boxwise_runtime.decode import decode
from boxwise_runtime.pipeline_runner import PipelineRunner

SIZES = ((640, 480), (1280, 720), (1920, 1080), (4000, 3000))
_MANY, _FEW = 20, 5  # boxes; the difference gives the cost of one
_REPEATS = 15


@dataclass(frozen=True)
class Cost:
    """Median milliseconds of one image on one core, and its size in kilobytes.

    Attributes:
        width: in pixels.
        height: in pixels.
        decode_ms: a JPEG of quality 90 to RGB.
        canvas_ms: RGB to the detector's canvas.
        nms_ms: thresholds, NMS and geometry, without crops.
        crop_ms: one crop, resized to the classifier's input.
        jpeg_kb: size of the file.
        raw_kb: size of its pixels.
    """

    width: int
    height: int
    decode_ms: float
    canvas_ms: float
    nms_ms: float
    crop_ms: float
    jpeg_kb: float
    raw_kb: float


def measure_costs(folder: Path) -> list[Cost]:
    """Time each stage of the demo's pipeline, whose networks return constants."""
    cv2.setNumThreads(1)
    prepare_demo(cache_folder(), folder / "demo", report=lambda _: None)
    nullify(folder / "demo", folder / "null", objects=_MANY)
    runner = load_runner(folder / "null", "boxwise")
    return [_cost(runner, width, height) for width, height in SIZES]


def _cost(runner: PipelineRunner, width: int, height: int) -> Cost:
    preprocess, detector = runner.preprocess, runner.detector
    assert preprocess  # noqa: S101 - the demo has a detector
    assert detector  # noqa: S101
    file = np.frombuffer(noise(width, height, seed=0), np.uint8)
    frame = decode(file, ImageLimits(max_pixels=width * height))
    laid = preprocess({"raw_frame": frame})
    candidates = {**laid, **detector({"canvas": laid["canvas"]})}

    def find(boxes: int) -> object:
        return runner.objects({**candidates, "thresholds": Thresholds(0.0, 1.0, boxes).pack()})

    few, many = _ms(lambda: find(_FEW)), _ms(lambda: find(_MANY))
    crop_ms = (many - few) / (_MANY - _FEW)
    return Cost(
        width,
        height,
        decode_ms=_ms(lambda: decode(file, ImageLimits(max_pixels=width * height))),
        canvas_ms=_ms(lambda: preprocess({"raw_frame": frame})),
        nms_ms=max(0.0, few - _FEW * crop_ms),
        crop_ms=crop_ms,
        jpeg_kb=len(file) / 1e3,
        raw_kb=frame.nbytes / 1e3,
    )


def _ms(call: Callable[[], object]) -> float:
    call()
    spent = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent) * 1e3


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m boxwise_benchmarks.costs", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="boxwise-costs-") as folder:
        found = measure_costs(Path(folder))
    if options.json:
        print(
            json.dumps({"machine": machine(), "costs": [asdict(each) for each in found]}, indent=2)
        )
        return
    print(f"{machine()}\nmilliseconds on one core, medians of {_REPEATS}\n")
    print(
        f"{'image':<12}{'decode':>9}{'canvas':>9}{'nms':>9}{'a crop':>9}"
        f"{'JPEG KB':>10}{'raw KB':>10}"
    )
    for each in found:
        print(
            f"{f'{each.width}x{each.height}':<12}{each.decode_ms:>9.2f}{each.canvas_ms:>9.2f}{each.nms_ms:>9.2f}"
            f"{each.crop_ms:>9.3f}{each.jpeg_kb:>10.0f}{each.raw_kb:>10.0f}"
        )


if __name__ == "__main__":
    main()
