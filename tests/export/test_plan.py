"""From checkpoints to a plan: what is settled, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from boxwise_export.errors import ExportError, PipelineError
from boxwise_export.pipeline import load_pipeline
from boxwise_export.plan import Plan, make_plan
from boxwise_export.summary import document, routes

Write = Callable[[str], Path]
DETECTOR = "detector: {weights: detector.onnx, labels: [car, dog]}\n"
CLASSIFIER = "{name: %s, weights: classifier.onnx, labels: [r, g, b], crop: {size: 8}%s}"


def plan(file: Path, cores: int = 2) -> Plan:
    return make_plan(load_pipeline(file), cores=cores)


def test_a_detector_s_open_questions_are_settled(write_pipeline: Write) -> None:
    detector = plan(write_pipeline(DETECTOR)).detector
    assert detector is not None
    assert detector.family == "yolox"
    assert (detector.canvas.height, detector.canvas.width) == (64, 64)
    assert (detector.canvas.resize, detector.canvas.color_order) == ("letterbox_top_left", "bgr")
    assert detector.candidates == 84  # all that there are, each of its best class
    assert detector.max_batch_size == 8  # the batch of 1 was opened


def test_the_pipeline_file_overrules_the_family(write_pipeline: Write) -> None:
    text = (
        "detector: {weights: detector.onnx, labels: [a, b], canvas: {resize: stretch, "
        "pad_value: 0, color_order: rgb}}"
    )
    detector = plan(write_pipeline(text)).detector
    assert detector is not None
    assert (detector.canvas.resize, detector.canvas.pad_value, detector.canvas.color_order) == (
        "stretch",
        0,
        "rgb",
    )


@pytest.mark.parametrize(
    ("cores", "instances", "threads"), [(1, 1, 1), (2, 2, 1), (8, 8, 1), (32, 8, 4)]
)
def test_instances_follow_the_cores(
    write_pipeline: Write, cores: int, instances: int, threads: int
) -> None:
    made = plan(write_pipeline(DETECTOR), cores)
    assert (made.instances, made.threads) == (instances, threads)


def test_routes(write_pipeline: Write) -> None:
    text = (
        DETECTOR
        + f"classifiers: [{CLASSIFIER % ('all', '')}, {CLASSIFIER % ('dogs', ', only: [dog]')}]"
    )
    made = plan(write_pipeline(text))
    assert routes(made) == {("all",): ["car"], ("all", "dogs"): ["dog"]}
    assert [c["only"] for c in document(made)["classifiers"]] == [None, ["dog"]]


def test_top_k_is_at_most_the_number_of_labels(write_pipeline: Write) -> None:
    (classifier,) = plan(
        write_pipeline(f"classifiers: [{CLASSIFIER % ('a', ', top_k: 9')}]")
    ).classifiers
    assert classifier.top_k == 3


def test_a_classifier_s_batch_holds_every_box(write_pipeline: Write) -> None:
    text = "detector: {weights: detector.onnx, labels: [a, b], max_detections: 150}\n"
    (classifier,) = plan(
        write_pipeline(text + f"classifiers: [{CLASSIFIER % ('a', '')}]")
    ).classifiers
    assert classifier.max_batch_size == 150


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("detector: {weights: nothing.onnx, labels: coco}", "detector.weights: no such file"),
        (
            "detector: {weights: pipeline.yaml, labels: coco}",
            "pipeline.yaml ends in .yaml; expected .onnx",
        ),
        (
            "detector: {weights: detector.onnx, labels: coco}",
            "detector.labels: 80 names, but the graph gives 2",
        ),
        (
            "detector: {weights: detector.onnx, labels: birds}",
            "'birds' is neither a known set (coco, coco91, imagenet)",
        ),
        ("detector: {weights: detector.onnx, labels: []}", "detector.labels: no names"),
        (
            "detector: {weights: detector.onnx, labels: [a, b], family: yolo}",
            "detector.family: 'yolo' is not known; expected one of centernet, yolov8, yolox, ",
        ),
        (
            "detector: {weights: detector.onnx, labels: [a, b], family: centernet}",
            "gives output [1, 84, 7]; family centernet needs two maps of one size",
        ),
        (
            "detector: {weights: detector.onnx, labels: [a, b], canvas: {size: 32}}",
            "detector.canvas.size: [32, 32], but the graph takes [64, 64]",
        ),
        (
            "detector: {weights: {file: detector.onnx, outputs: [boxes]}, labels: coco}",
            "has no output 'boxes'; it has output",
        ),
        (
            DETECTOR + f"classifiers: [{CLASSIFIER % ('a', ', only: [cat]')}]",
            "the detector has no class 'cat'",
        ),
        (
            "classifiers: [{name: a, weights: classifier.onnx, labels: [r], crop: {size: 8}}]",
            "classifiers.a.labels: 1 names, but the graph gives 3 classes",
        ),
        (
            "classifiers: [{name: a, weights: w.pth, labels: [r], crop: {size: 8}}]",
            "name the architecture (package.module:factory) as well",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    write_pipeline: Write, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(ExportError) as caught:
        plan(write_pipeline(text))
    assert message in str(caught.value)


def test_a_graph_of_any_size_needs_one(
    write_pipeline: Write, tmp_path: Path, make_model: Callable[..., object]
) -> None:
    node = onnx.helper.make_node("Identity", ["images"], ["logits"])
    onnx.save(
        make_model([node], {"images": ["b", 3, "h", "w"]}, {"logits": ["b", 3, "h", "w"]}, {}),
        tmp_path / "d.onnx",
    )
    with pytest.raises(
        ExportError, match=r"detector\.canvas\.size: the graph takes images of any size"
    ):
        plan(write_pipeline("detector: {weights: d.onnx, labels: coco}"))


PROTOTYPES = """
classifiers:
  - name: color
    weights: classifier.onnx
    labels: [red, green, blue, grey]
    prototypes: colors.npy
"""


def test_prototypes_make_labels_of_an_embedding(write_pipeline: Callable[[str], Path]) -> None:
    file = write_pipeline(PROTOTYPES)
    np.save(file.with_name("colors.npy"), np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]))
    (classifier,) = make_plan(load_pipeline(file)).classifiers
    assert classifier.labels == ("red", "green", "blue", "grey")
    assert classifier.top_k == 4
    assert classifier.similarity is not None
    np.testing.assert_allclose(np.linalg.norm(classifier.similarity, axis=1), 100, rtol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "sentence"),
    [
        (None, "cannot be read"),
        (np.ones((4, 5)), r"holds \[4, 5\]; expected \[labels, 3\]"),
        (np.ones(3), r"holds \[3\]"),
        (np.ones((2, 3)), "4 names, but there are prototypes of 2 classes"),
        (np.zeros((4, 3)), "a row of zeros"),
        (np.full((4, 3), np.nan), "not finite"),
    ],
)
def test_prototypes_that_do_not_fit(
    write_pipeline: Callable[[str], Path], vectors: np.ndarray | None, sentence: str
) -> None:
    file = write_pipeline(PROTOTYPES)
    if vectors is not None:
        np.save(file.with_name("colors.npy"), vectors)
    with pytest.raises(PipelineError, match=sentence):
        make_plan(load_pipeline(file))
