"""Either half of a pipeline is optional, several live in one repository,
and each says what it is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
import yaml
from contract_support.calls import OPTION_TYPES, Answer, Triton, assert_same, assert_well_formed
from contract_support.synthetic import CANVAS, make_dots, png, read_pixels
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
DETECTIONS = {"boxes": ("FP32", [-1, 4]), "scores": ("FP32", [-1]), "class_ids": ("INT32", [-1])}
# Pipeline -> its classifiers and how many labels each says of a box.
PIPELINES = {
    "boxwise": {"imagenet": 5},
    "centernet": {},
    "dots": {"shade": 3, "reds": 1, "vivid": 3},
    "thousand": {"shade": 3},
    "whole": {"stretched": 768, "centred": 192},
}


def information(triton: Triton, pipeline: str) -> dict[str, Any]:
    (text,) = triton.infer(f"{pipeline}_info", {})["info"]
    document = json.loads(text)
    assert isinstance(document, dict)
    return document


def shown(answer: Answer, classifier: str, side: int) -> NDArray[np.float32]:
    return read_pixels(answer[f"{classifier}_ids"][0], answer[f"{classifier}_scores"][0], side)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("raw", [False, True])
def test_the_tensors_are_those_of_the_contract(triton: Triton, pipeline: str, raw: bool) -> None:
    metadata = triton.client.get_model_metadata(pipeline + ("_raw" if raw else ""), as_json=True)
    tensors = {
        way: {
            tensor["name"]: (tensor["datatype"], [int(side) for side in tensor["shape"]])
            for tensor in metadata[way]
        }
        for way in ("inputs", "outputs")
    }
    options = {
        name: ("FP32" if kind is np.float32 else "INT32", [1])
        for name, kind in OPTION_TYPES.items()
    }
    image = {"frame": ("UINT8", [-1, -1, 3])} if raw else {"image": ("UINT8", [-1])}
    assert tensors["inputs"] == image | options | {"class_filter": ("INT32", [-1])}
    classifiers = {
        f"{name}_{part}": (kind, [-1, k])
        for name, k in PIPELINES[pipeline].items()
        for part, kind in (("ids", "INT32"), ("scores", "FP32"))
    }
    assert tensors["outputs"] == DETECTIONS | {"image_size": ("INT32", [2])} | classifiers


@pytest.mark.parametrize("raw", [False, True])
def test_a_detector_alone(triton: Triton, photos: dict[str, bytes], raw: bool) -> None:
    file = photos["motorcycle_left"]
    frame = cv2.cvtColor(
        cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
    )
    alone = triton.predict_raw("centernet", frame) if raw else triton.predict("centernet", file)
    assert_well_formed(alone, len(alone["boxes"]), {}, height=500, width=741)
    assert len(alone["boxes"]) > 0
    with_classifiers = triton.predict("boxwise", file)
    assert_same(alone, {name: with_classifiers[name] for name in alone})


def test_a_detector_alone_that_finds_nothing(triton: Triton) -> None:
    answer = triton.predict("centernet", png(np.zeros((50, 60, 3), np.uint8)))
    assert_well_formed(answer, 0, {}, height=50, width=60)


def test_classifiers_that_are_asked_about_nothing(triton: Triton) -> None:
    answer = triton.predict("boxwise", png(np.zeros((50, 60, 3), np.uint8)))
    assert_well_formed(answer, 0, {"imagenet": 5}, height=50, width=60)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(("width", "height"), [(64, 32), (16, 16), (20, 90), (300, 7)])
def test_classifiers_alone_are_asked_about_the_whole_picture(
    triton: Triton, width: int, height: int, raw: bool
) -> None:
    frame = np.random.default_rng(7).integers(0, 256, (height, width, 3)).astype(np.uint8)
    answer = triton.predict_raw("whole", frame) if raw else triton.predict("whole", png(frame))
    assert_well_formed(answer, 1, PIPELINES["whole"], height=height, width=width)
    assert answer["boxes"].tolist() == [[0, 0, width, height]]
    assert answer["class_ids"].tolist() == [-1]
    assert answer["scores"].tolist() == [1]


def test_a_stretched_image_is_seen_whole(triton: Triton) -> None:
    frame = np.random.default_rng(8).integers(0, 256, (32, 64, 3)).astype(np.uint8)
    # Half as high and a quarter as wide, bilinear: the mean of the two middle columns of four, of
    # both rows of two.
    middle = frame.reshape(16, 2, 16, 4, 3)[:, :, :, 1:3].mean(axis=(1, 3))
    np.testing.assert_allclose(
        shown(triton.predict("whole", png(frame)), "stretched", 16), middle, atol=0.6
    )


@pytest.mark.parametrize("upright", [False, True])
def test_the_centre_is_cut_after_the_shorter_side_is_resized(triton: Triton, upright: bool) -> None:
    frame = np.random.default_rng(9).integers(0, 256, (32, 80, 3)).astype(np.uint8)
    # The shorter side becomes 16: 16 x 40, each value the mean of 2 x 2; then the middle 8 x 8.
    resized = frame.reshape(16, 2, 40, 2, 3).mean(axis=(1, 3))
    expected = resized[4:12, 16:24]
    if upright:
        frame, expected = frame.transpose(1, 0, 2), expected.transpose(1, 0, 2)
    np.testing.assert_allclose(
        shown(triton.predict("whole", png(frame)), "centred", 8), expected, atol=0.6
    )


def test_thresholds_do_not_touch_a_whole_picture(triton: Triton) -> None:
    file = png(np.full((9, 9, 3), 77, np.uint8))
    plain = triton.predict("whole", file)
    assert_same(
        triton.predict("whole", file, score_threshold=1.0, iou_threshold=0.0, max_detections=1),
        plain,
    )


def test_two_pipelines_in_one_repository_answer_for_themselves(triton: Triton) -> None:
    file = png(make_dots(150).draw())
    assert_well_formed(
        triton.predict("dots", file), 100, PIPELINES["dots"], height=CANVAS, width=CANVAS
    )
    assert_well_formed(
        triton.predict("thousand", file), 150, PIPELINES["thousand"], height=CANVAS, width=CANVAS
    )


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_pipeline_says_what_it_is(triton: Triton, repository: Path, pipeline: str) -> None:
    document = information(triton, pipeline)
    assert document["contract"] == 1
    assert document["pipeline"] == pipeline
    assert {c["name"]: c["top_k"] for c in document["classifiers"]} == PIPELINES[pipeline]
    assert document["digests"] == {
        path.parents[1].name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in repository.glob("*/1/model.onnx")
        if path.parents[1].name.startswith((f"{pipeline}_detector", f"{pipeline}_classifier"))
    }


def test_the_information_names_every_label(triton: Triton) -> None:
    document = information(triton, "boxwise")
    coco = document["detector"]["labels"]
    assert (len(coco), coco[0], coco[15], coco[41], coco[79]) == (
        80,
        "person",
        "cat",
        "cup",
        "toothbrush",
    )
    (imagenet,) = document["classifiers"]
    assert (len(imagenet["labels"]), imagenet["labels"][967]) == (1000, "espresso")
    assert coco.index("person") not in imagenet["only"]
    demo = yaml.safe_load((ROOT / "export" / "boxwise_export" / "demo.yaml").read_text())
    assert {coco[i] for i in imagenet["only"]} == set(demo["classifiers"][0]["only"])
    stated = {
        name: demo["detector"][name] for name in ("family", "score_threshold", "iou_threshold")
    }
    assert document["detector"] == stated | {"labels": coco, "max_detections": 100}
    assert document["limits"] == {
        "max_pixels": 25_000_000,
        "max_bytes": 50_000_000,
        "max_aspect": 10_000,
        "max_detections": 100,
    }


def test_the_information_of_the_other_shapes(triton: Triton) -> None:
    whole = information(triton, "whole")
    assert whole["detector"] is None
    assert whole["limits"] == {
        "max_pixels": 100_000,
        "max_bytes": 50_000_000,
        "max_aspect": 10_000,
        "max_detections": 1,
    }
    dots = information(triton, "dots")
    assert {c["name"]: c["only"] for c in dots["classifiers"]} == {
        "shade": None,
        "reds": [0],
        "vivid": None,
    }
    assert information(triton, "thousand")["limits"]["max_detections"] == 1000
    assert information(triton, "centernet")["classifiers"] == []


def test_http_gives_the_same_answer(triton: Triton) -> None:
    """The binary tensor data extension: JSON, then the bytes of each tensor; no client library at
    all.
    """
    dots = make_dots(12)
    file = png(dots.draw())
    asked = {"score_threshold": 0.3, "max_detections": 10}
    tensors = {"image": np.frombuffer(file, np.uint8)} | {
        name: np.array([value], OPTION_TYPES[name]) for name, value in asked.items()
    }
    kinds = {np.dtype(np.uint8): "UINT8", np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32"}
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": list(values.shape),
                    "datatype": kinds[values.dtype],
                    "parameters": {"binary_data_size": values.nbytes},
                }
                for name, values in tensors.items()
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    reply = requests.post(
        f"{triton.http_url}/v2/models/dots/infer",
        data=header + b"".join(values.tobytes() for values in tensors.values()),
        headers={
            "Inference-Header-Content-Length": str(len(header)),
            "Content-Type": "application/octet-stream",
        },
        timeout=30,
    )
    assert reply.status_code == 200, reply.text
    length = int(reply.headers["Inference-Header-Content-Length"])
    rest, answer = reply.content[length:], {}
    for output in json.loads(reply.content[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        dtype = {"FP32": np.float32, "INT32": np.int32}[output["datatype"]]
        answer[output["name"]] = np.frombuffer(rest[:size], dtype).reshape(output["shape"])
        rest = rest[size:]
    assert not rest
    assert len(answer["boxes"]) == 10
    assert_same(answer, triton.predict("dots", file, **asked))


def test_http_refuses_with_the_same_sentence(triton: Triton) -> None:
    body = {"inputs": [{"name": "image", "shape": [3], "datatype": "UINT8", "data": [1, 2, 3]}]}
    reply = requests.post(f"{triton.http_url}/v2/models/dots/infer", json=body, timeout=30)
    assert reply.status_code == 400
    refused = triton.refusal("dots", {"image": np.array([1, 2, 3], np.uint8)})
    assert reply.json()["error"] == refused.sentence
