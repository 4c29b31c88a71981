"""What is served is what the source says: against decodes written anew, against COCO, alone and
among others.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from contract_support import evaluation, reference
from contract_support.calls import Answer, Triton, assert_same
from numpy.typing import NDArray

from boxwise_export.checkpoints.tfjs import read_tfjs

PIXEL = 0.01
SCORE = 1e-4
# score_threshold, iou_threshold, max_detections, class_filter
SETTINGS: list[tuple[float, float, int, list[int]]] = [
    (0.3, 0.5, 100, []),
    (0.05, 0.6, 100, []),
    (0.1, 0.2, 5, []),
    (0.02, 1.0, 100, [0, 2, 15, 41]),
]
Detect = Callable[[ort.InferenceSession, NDArray[np.uint8]], reference.Detections]


@pytest.fixture(scope="module")
def centernet_source(demo_assets: dict[str, Path]) -> ort.InferenceSession:
    model = read_tfjs(demo_assets["centernet.json"], ["tower_0/keypoints", "tower_0/wh"])
    return reference.session(model.SerializeToString())


@pytest.fixture(scope="module")
def yolox_source(shared_data: Path) -> ort.InferenceSession:
    return reference.session((shared_data / "models" / "yolox_nano_coco.onnx").read_bytes())


def decoded(file: bytes) -> NDArray[np.uint8]:
    return cv2.cvtColor(
        cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
    )


def assert_agrees(answer: Answer, found: reference.Detections) -> None:
    """The same objects: each found one is another row of its class,
    0.01 px and 1e-4 away at most.
    """
    left = list(range(len(found.boxes)))
    for box, score, class_id in zip(
        answer["boxes"], answer["scores"], answer["class_ids"], strict=True
    ):
        near = [
            i
            for i in left
            if found.class_ids[i] == class_id
            and np.abs(found.boxes[i] - box).max() <= PIXEL
            and abs(found.scores[i] - score) <= SCORE
        ]
        assert near, f"class {class_id} at {box}, score {score:.5f}, is not in the source"
        left.remove(near[0])
    missed = [
        (found.boxes[i].tolist(), float(found.scores[i]), int(found.class_ids[i])) for i in left
    ]
    assert not missed, "the source has these as well"


def assert_found_in(
    triton: Triton, pipeline: str, detect: Detect, source: ort.InferenceSession, files: list[bytes]
) -> int:
    """Each file agrees under each of the settings; returns how many objects were compared."""
    compared = 0
    for file in files:
        found = detect(source, decoded(file))
        for score, iou, most, only in SETTINGS:
            options: dict[str, Any] = {
                "score_threshold": score,
                "iou_threshold": iou,
                "max_detections": most,
            }
            answer = triton.predict(
                pipeline, file, **options, **({"class_filter": only} if only else {})
            )
            assert_agrees(answer, reference.suppress(found, score, iou, most, only))
            compared += len(answer["boxes"])
    return compared


def variations(photos: dict[str, bytes]) -> list[bytes]:
    """16 different images, of different sizes and kinds, made of the demo's photos."""
    files = []
    for photo in photos.values():
        frame = decoded(photo)[..., ::-1]
        height, width = frame.shape[:2]
        files += [
            photo,
            cv2.imencode(".jpg", frame[:, ::-1])[1].tobytes(),
            cv2.imencode(".png", frame[: height * 2 // 3, width // 5 :])[1].tobytes(),
            cv2.imencode(".jpg", cv2.resize(frame, (width * 2, height)))[1].tobytes(),
        ]
    assert len(files) == 16
    return files


def test_centernet_agrees_with_its_source(
    triton: Triton, photos: dict[str, bytes], centernet_source: ort.InferenceSession
) -> None:
    compared = assert_found_in(
        triton, "centernet", reference.centernet, centernet_source, variations(photos)[::2]
    )
    assert compared > 100


def test_centernet_agrees_with_its_source_on_coco(
    triton: Triton, shared_data: Path, centernet_source: ort.InferenceSession
) -> None:
    files = [photo.read_bytes() for photo in evaluation.photos(shared_data)[:6]]
    assert assert_found_in(triton, "centernet", reference.centernet, centernet_source, files) > 200


def test_yolox_agrees_with_its_source_on_coco(
    triton: Triton, shared_data: Path, yolox_source: ort.InferenceSession
) -> None:
    files = [photo.read_bytes() for photo in evaluation.photos(shared_data)[:12]]
    assert assert_found_in(triton, "street", reference.yolox, yolox_source, files) > 500


@pytest.mark.parametrize(
    ("pipeline", "expected", "settings"),
    [
        (
            "centernet",
            0.363,
            {"score_threshold": 0.05, "iou_threshold": 0.6, "max_detections": 100},
        ),
        ("street", 0.342, {"score_threshold": 0.01, "iou_threshold": 0.65, "max_detections": 100}),
    ],
)
def test_mean_average_precision_on_coco(
    triton: Triton,
    shared_data: Path,
    figures: list[str],
    pipeline: str,
    expected: float,
    settings: dict[str, float],
) -> None:
    photos = evaluation.photos(shared_data)
    assert len(photos) == 64
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(
            lambda photo: triton.predict(pipeline, photo.read_bytes(), **settings), photos
        )
        found = evaluation.average_precision(dict(zip(photos, answers, strict=True)))
    figures.append(
        f"mAP@[.5:.95] of {pipeline} on {len(photos)} COCO photos: {found:.4f} (expected "
        f"{expected})"
    )
    assert found == pytest.approx(expected, abs=0.005)


def test_an_image_is_answered_alone_as_among_sixteen(
    triton: Triton, photos: dict[str, bytes]
) -> None:
    files = variations(photos)
    alone = [triton.predict("boxwise", file, score_threshold=0.15) for file in files]
    assert sum(len(answer["boxes"]) for answer in alone) > 24
    assert len({answer["boxes"].tobytes() for answer in alone}) > 12, (
        "images that look the same prove nothing"
    )
    with ThreadPoolExecutor(len(files)) as pool:
        together = list(
            pool.map(lambda file: triton.predict("boxwise", file, score_threshold=0.15), files)
        )
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        for name in ("image_size", "class_ids", "imagenet_ids"):
            np.testing.assert_array_equal(other[name], one[name])
        np.testing.assert_allclose(other["boxes"], one["boxes"], atol=PIXEL)
        for name in ("scores", "imagenet_scores"):
            np.testing.assert_allclose(other[name], one[name], atol=SCORE)


def test_pipelines_and_settings_do_not_mix_under_load(
    triton: Triton, photos: dict[str, bytes]
) -> None:
    files = variations(photos)
    requests = [
        (pipeline, file, {"score_threshold": 0.1 + 0.02 * i, "max_detections": 1 + i % 9})
        for i, file in enumerate(files[::2])
        for pipeline in ("centernet", "dots")
    ]
    alone = [triton.predict(pipeline, file, **options) for pipeline, file, options in requests]
    with ThreadPoolExecutor(16) as pool:
        together = pool.map(lambda r: triton.predict(r[0], r[1], **r[2]), requests)
        for one, other in zip(alone, together, strict=True):
            assert_same(other, one)
