"""What a model is asked before it is ready, and what becomes of one that cannot answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from contract_support.synthetic import write_mean_classifier

from boxwise_contract.limits import ImageLimits
from boxwise_runtime.decode import decode
from boxwise_runtime.stages import OnnxStage, Suppress, WholePicture
from boxwise_runtime.warmup import IMAGE, encode, warm_up

CROP = {
    "height": 8,
    "width": 8,
    "padding": 0.0,
    "keep_aspect": False,
    "resize_shorter": 0,
    "pad_value": 0,
    "interpolation": "linear",
    "color_order": "rgb",
}


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((480, 640), {}, (480, 640)),
        ((1, 1), {}, (1, 1)),
        ((3000, 4000), {}, (480, 640)),
        ((3, 4000), {}, (1, 640)),
        ((480, 640), {"max_pixels": 100_000}, (240, 320)),
        ((480, 640), {"max_pixels": 1}, (1, 1)),
        ((480, 640), {"max_bytes": 5_000}, (60, 80)),
        ((480, 640), {"max_aspect": 1.2}, (480, 480)),
    ],
)
def test_the_image_is_moderate_and_within_what_the_pipeline_accepts(
    size: tuple[int, int], limits: dict[str, float], expected: tuple[int, int]
) -> None:
    held_to = ImageLimits(**{"max_pixels": 10**8, **limits})  # type: ignore[arg-type]
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert decode(np.frombuffer(encode(frame, held_to), np.uint8), held_to).shape[:2] == expected


def test_an_image_keeps_its_colours() -> None:
    file = encode(np.full((10, 10, 3), (250, 120, 10), np.uint8), ImageLimits(max_pixels=100))
    seen = decode(np.frombuffer(file, np.uint8), ImageLimits(max_pixels=100))
    assert seen[5, 5] == pytest.approx((250, 120, 10), abs=3)


def test_a_pipeline_that_accepts_no_jpeg_has_no_image() -> None:
    assert encode(np.zeros((9, 9, 3), np.uint8), ImageLimits(max_pixels=100, max_bytes=10)) == b""


def test_a_stage_that_decodes_is_asked_about_its_image(tmp_path: Path) -> None:
    stage = WholePicture(crops={"shade": CROP}, max_pixels=100)
    warm_up(stage, tmp_path)  # an older boxwise published none
    (tmp_path / IMAGE).write_bytes(encode(np.zeros((9, 9, 3), np.uint8), stage))
    warm_up(stage, tmp_path)
    (tmp_path / IMAGE).write_bytes(b"no image")
    with pytest.raises(
        RuntimeError, match=r"fails its warm-up request.*InvalidInput: image: not a JPEG.*rollback"
    ):
        warm_up(stage, tmp_path)


def test_a_graph_that_cannot_run_is_refused(tmp_path: Path) -> None:
    write_mean_classifier(tmp_path / "model.onnx")
    stage = OnnxStage(tmp_path, threads=1, chunk=4)
    with pytest.raises(RuntimeError, match="fails its warm-up request"):
        warm_up(stage, tmp_path)  # it takes float32, and crops are uint8


@pytest.mark.parametrize("only", [(), (2, 5)])
def test_nms_cuts_out_crops(only: tuple[int, ...], tmp_path: Path) -> None:
    warm_up(Suppress(nms=True, crops={"shade": CROP | {"only": only}}), tmp_path)
    with pytest.raises(RuntimeError, match="fails its warm-up request"):
        warm_up(
            Suppress(nms=True, crops={"shade": CROP | {"only": only, "height": math.nan}}), tmp_path
        )
