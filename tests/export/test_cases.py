"""Inputs that people brought and that broke us: the right value of each, found without boxwise
(../shared/cases).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from boxwise_export.checkpoints.download import fetch
from boxwise_export.demo_assets import PHOTOS
from boxwise_export.errors import ExportError
from boxwise_export.export import export, running
from boxwise_export.inspection import inspect
from boxwise_export.pipeline import Weights, load_pipeline
from boxwise_export.plan import Plan, make_plan
from boxwise_runtime.cache import cache_folder

SIDE = 512
# The detectors give constants, so that any square image will do; classifiers see these.
Detections = list[tuple[str, float, list[float]]]
Run = Callable[..., Detections]


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """scikit-image's sample, 512 x 512, which the demo keeps in its cache."""
    (photo,) = [asset for asset in PHOTOS if asset.filename == "astronaut.png"]
    (path,) = fetch([photo], cache_folder() / "demo", lambda _: None).values()
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def plan_of(shared_cases: Path, tmp_path: Path) -> Callable[..., Plan]:
    """The plan of one of the pipeline files, with some keys of its detector or first classifier
    changed.
    """

    def plan_of(name: str, **changes: Any) -> Plan:
        document = yaml.safe_load((shared_cases / f"{name}.yaml").read_text())
        part = document["detector"] if "detector" in document else document["classifiers"][0]
        part |= changes
        for each in [part, *document.get("classifiers", [])]:
            if isinstance(each["weights"], str):
                each["weights"] = str(shared_cases / each["weights"])
            if isinstance(each.get("labels"), str) and "." in each["labels"]:
                each["labels"] = str(shared_cases / each["labels"])
        file = tmp_path / f"{name}.yaml"
        file.write_text(
            yaml.safe_dump({key: value for key, value in document.items() if value is not None})
        )
        return make_plan(load_pipeline(file), cores=1)

    return plan_of


@pytest.fixture
def detect(plan_of: Callable[..., Plan], frame: np.ndarray) -> Run:
    def detect(name: str, **changes: Any) -> Detections:
        plan = plan_of(name, **changes)
        assert plan.detector is not None
        with running(plan) as runner:
            found = runner({"raw_frame": frame})
        columns = (found[name].tolist() for name in ("class_ids", "scores", "boxes"))
        return [
            (plan.detector.labels[i], score, box) for i, score, box in zip(*columns, strict=True)
        ]

    return detect


def assert_found(found: Detections, expected: Sequence[tuple[str, float, Sequence[float]]]) -> None:
    assert [name for name, _, _ in found] == [name for name, _, _ in expected]
    np.testing.assert_allclose(
        [score for _, score, _ in found], [score for _, score, _ in expected], atol=1e-3
    )
    right = np.clip([box for _, _, box in expected], 0, SIDE)
    np.testing.assert_allclose([box for _, _, box in found], right, atol=0.1)


DETR = [
    ("person", 0.953, [231.6, 237.9, 330.3, 343.8]),
    ("toothbrush", 0.924, [217.6, 232.8, 358.2, 359.0]),
    ("car", 0.881, [224.9, 110.5, 313.8, 187.4]),
    ("bottle", 0.818, [238.5, 343.2, 387.7, 398.3]),
]


def test_ninety_one_columns_and_ninety_names_are_a_question(plan_of: Callable[..., Plan]) -> None:
    with pytest.raises(ExportError) as caught:
        plan_of("p_detr91")
    sentence = str(caught.value)
    assert "logits has 91 columns for 90 names" in sentence
    assert (
        "`activation: softmax, background: last` (a softmax whose last column is no object"
        in sentence
    )
    assert (
        "`activation: sigmoid, background: first` (a sigmoid for each class, the first "
        "column unused" in sentence
    )


@pytest.mark.parametrize(
    "keys", [{"activation": "sigmoid", "background": "first"}, {"labels": "coco91"}]
)
def test_coco_ids_as_columns(detect: Run, keys: Mapping[str, Any]) -> None:
    assert_found(detect("p_detr91", **keys), DETR)


def test_a_softmax_with_no_object_last_is_chosen_by_its_keys(plan_of: Callable[..., Plan]) -> None:
    detector = plan_of("p_detr91", activation="softmax").detector
    assert detector is not None
    assert "by a softmax whose last column is no object" in detector.reading.why
    assert any(note.startswith("background: last") for note in detector.notes)


def test_a_cell_gives_its_best_class_alone_as_the_authors_predict_does(detect: Run) -> None:
    boxes = {
        "a": [115.2, 115.2, 166.4, 166.4],
        "b": [-12.8, 371.2, 38.4, 422.4],
        "c": [-51.2, 358.4, 153.6, 563.2],
    }
    single = [("c", 0.90, boxes["c"]), ("a", 0.80, boxes["a"]), ("b", 0.35, boxes["b"])]
    assert_found(detect("p_two_classes", canvas={"size": 160}), single)
    every = [*single[:2], ("b", 0.45, boxes["a"]), single[2], ("a", 0.30, boxes["b"])]
    assert_found(detect("p_two_classes", canvas={"size": 160}, nms={"multi_label": True}), every)


def test_class_agnostic_nms_keeps_one_box_of_an_object(detect: Run) -> None:
    found = detect(
        "p_two_classes", canvas={"size": 160}, nms={"multi_label": True, "class_agnostic": True}
    )
    assert [(name, round(score, 2)) for name, score, _ in found] == [
        ("c", 0.9),
        ("a", 0.8),
        ("b", 0.35),
    ]


FACES = [("face", 0.95, [78.5, 175.1, 173.3, 239.6]), ("face", 0.60, [292.0, 75.4, 362.5, 139.3])]


def test_a_background_that_the_names_name_is_no_class(detect: Run) -> None:
    assert_found(detect("p_ultraface_generic", canvas={"resize": "stretch"}), FACES)


def test_a_background_without_a_name_is_asked_for(
    plan_of: Callable[..., Plan], detect: Run
) -> None:
    with pytest.raises(ExportError) as caught:
        plan_of("p_ultraface_face")
    assert "scores has 2 columns for 1 names" in str(caught.value)
    assert "background: first" in str(caught.value)
    assert_found(detect("p_ultraface_face", background="first"), FACES)


@pytest.mark.parametrize("name", ["p_ultraface_detr", "p_ultraface_ssd"])
def test_corners_and_a_softmax_are_no_detr(plan_of: Callable[..., Plan], name: str) -> None:
    with pytest.raises(
        ExportError, match=r"the nearest is detr, .*boxes holds corners.*`tensors:`"
    ):
        plan_of(name)


def test_metadata_gives_names_and_size_and_licence(
    detect: Run, plan_of: Callable[..., Plan], shared_cases: Path
) -> None:
    detector = plan_of("p_metadata").detector
    assert detector is not None
    assert (detector.labels, detector.canvas.height, detector.canvas.width) == (
        ("circle", "square"),
        160,
        160,
    )
    assert str(detector.source.licence).startswith("AGPL-3.0")
    assert_found(detect("p_metadata"), [("circle", 0.90, [-12.8, 243.2, 38.4, 294.4])])
    seen = inspect(Weights(file=shared_cases / "yolov8_metadata.onnx"))
    assert (seen.labels, seen.metadata["author"], seen.metadata["task"]) == (
        ("circle", "square"),
        "Ultralytics",
        "detect",
    )
    assert seen.preprocessing["size"] == [(160, 160), "the weights"]


def test_labels_that_contradict_the_metadata_are_noted(plan_of: Callable[..., Plan]) -> None:
    detector = plan_of("p_metadata", labels=["square", "circle"]).detector
    assert detector is not None
    (note,) = detector.notes
    assert "class 0 is 'square' in the pipeline file and 'circle' in the weights' metadata" in note


@pytest.mark.parametrize(
    ("name", "expected", "left_out"),
    [("p_seg", "square", "masks are left out"), ("p_pose", "person", "keypoints")],
)
def test_boxes_of_other_heads(
    detect: Run, plan_of: Callable[..., Plan], name: str, expected: str, left_out: str
) -> None:
    assert_found(detect(name), [(expected, 0.90, [115.2, 115.2, 166.4, 166.4])])
    detector = plan_of(name).detector
    assert detector is not None
    assert any(note.startswith(left_out) for note in detector.notes)


def test_oriented_boxes_are_named(plan_of: Callable[..., Plan], shared_cases: Path) -> None:
    with pytest.raises(ExportError, match=r"oriented boxes .* are not served"):
        plan_of("p_obb")
    seen = inspect(Weights(file=shared_cases / "yolov8_obb.onnx"))
    assert seen.kind is None
    assert "oriented boxes" in seen.why


def test_picodet_has_centres_in_the_middle_of_a_cell(detect: Run) -> None:
    right = [
        ("text", 0.90, [89.6, 166.4, 192.0, 268.8]),
        ("title", 0.80, [0, 51.0, 358.5, 461.0]),
        ("figure", 0.70, [0, 0, 512, 512]),
    ]
    assert_found(detect("p_picodet"), right)


def classify(plan: Plan, frame: np.ndarray) -> dict[str, float]:
    (classifier,) = plan.classifiers
    with running(plan) as runner:
        found = runner({"raw_frame": frame})
    ids, scores = (
        found[f"{classifier.spec.name}_{part}"][0].tolist() for part in ("ids", "scores")
    )
    return {classifier.labels[i]: score for i, score in zip(ids, scores, strict=True)}


# Of astronaut.png, scikit-image's sample, stretched to 64 x 64 by OpenCV's INTER_AREA
# (expected.py).
CLASSIFIED = [
    ("p_cls_softmax", {"l17": 0.9998}),
    ("p_cls_fp16_input", {"l2": 0.645, "l0": 0.355}),
    ("p_cls_uint8_nhwc", {"l1": 0.606, "l2": 0.393}),
    ("p_cls_nhwc", {"l3": 1.0}),
    ("p_cls_gray", {"l0": 1.0}),
]


@pytest.mark.parametrize(("name", "right"), CLASSIFIED)
def test_classifiers_as_people_export_them(
    plan_of: Callable[..., Plan], astronaut: np.ndarray, name: str, right: Mapping[str, float]
) -> None:
    found = classify(plan_of(name, crop={"size": 64, "interpolation": "area"}), astronaut)
    assert list(found)[: len(right)] == list(right)
    assert {label: found[label] for label in right} == pytest.approx(right, abs=2e-3)


def test_a_softmax_is_not_applied_twice(plan_of: Callable[..., Plan]) -> None:
    (classifier,) = plan_of("p_cls_softmax").classifiers
    assert classifier.activation == "none"
    assert classifier.notes == ("activation: none, since the graph ends in a Softmax",)
    with pytest.raises(
        ExportError, match=r"c\.activation: softmax, but the graph ends in a Softmax: .* twice"
    ):
        plan_of("p_cls_softmax", activation="softmax")


def test_rows_whose_columns_are_named(detect: Run) -> None:
    words = ["batch", "x1", "y1", "x2", "y2", "class", "score"]
    found = detect(
        "p_end2end_m7",
        tensors={"rows": "output", "columns": words, "nms": False},
        canvas={"resize": "stretch"},
    )
    scale = SIDE / 160
    right = [("b", 0.9, [10, 20, 60, 90]), ("a", 0.6, [80, 30, 150, 70])]
    assert_found(
        found, [(name, score, [scale * value for value in box]) for name, score, box in right]
    )


LABEL_FILES = ["bom_txt", "crlf_txt", "list_yaml", "names_json", "names_yaml"]


@pytest.mark.parametrize("name", LABEL_FILES)
def test_label_files_as_people_have_them(plan_of: Callable[..., Plan], name: str) -> None:
    detector = plan_of(f"p_lab_{name}").detector
    assert detector is not None
    assert detector.labels == ("circle", "square")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("duplicates_txt", r"line 2 is empty"),
        ("empty_lines_txt", r"line 2 is empty"),
        ("utf16_txt", r"UTF-8"),
    ],
)
def test_label_files_that_cannot_be_meant(
    plan_of: Callable[..., Plan], name: str, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        plan_of(f"p_lab_{name}")


def test_a_whole_export_passes_its_gate_and_leaves_a_contact_sheet(
    shared_cases: Path, tmp_path: Path, frame: np.ndarray
) -> None:
    (tmp_path / "images").mkdir()
    Image.fromarray(frame).save(tmp_path / "images" / "noise.png")
    lines: list[str] = []
    exported = export(
        shared_cases / "p_metadata.yaml",
        tmp_path / "repository",
        calibration=tmp_path / "images",
        report=lines.append,
    )
    with Image.open(tmp_path / "repository" / "metadata.revision-1.jpg") as sheet:
        assert sheet.size == (320, 336)
    assert (
        exported.publication.revision.notes == {}
        or "detector" in exported.publication.revision.notes
    )
    assert any("metadata.revision-1.jpg" in line for line in lines)
