"""Nothing that differs from its source is published, and the first step that differs is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from contract_support.synthetic import make_dots, write_dots_detector, write_mean_classifier
from onnx import helper, numpy_helper
from PIL import Image

from boxwise_export import export as exporting
from boxwise_export.checkpoints.base import Detections
from boxwise_export.errors import ExportError
from boxwise_export.export import export, running
from boxwise_export.parity.gate import check_parity, find_images, spread
from boxwise_export.parity.limits import limits_of
from boxwise_export.parity.report import ParityError, ParityReport
from boxwise_export.pipeline import Tolerances, load_pipeline
from boxwise_export.plan import Plan, make_plan

PIPELINE = """
name: dots
detector:
  weights: dots.onnx
  labels: [red, green, blue]
  normalize: {mean: 0, std: 255}
  canvas: {pad_value: 0}
classifiers:
  - name: shade
    weights: mean.onnx
    labels: [red, green, blue]
    crop: {size: 8}
    normalize: {mean: 0, std: 255}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    write_dots_detector(tmp_path / "dots.onnx")
    write_mean_classifier(tmp_path / "mean.onnx")
    images = tmp_path / "images"
    images.mkdir()
    for seed, side in enumerate((512, 256)):
        frame = make_dots(30, seed=seed, width=side, height=side).draw(side, side)
        Image.fromarray(frame).save(images / f"{seed}.png")
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE)
    return file


def checked(file: Path, change: Callable[[Plan], Plan] = lambda plan: plan) -> ParityReport:
    """The gate over the images beside the pipeline file,
    after a change to what would be published.
    """
    loaded = load_pipeline(file)
    plan = change(make_plan(loaded, cores=1))
    with running(plan) as runner:
        return check_parity(
            plan, runner, find_images(file.parent / "images"), limits_of(Tolerances(), "fp32")
        )


def test_what_equals_its_source_passes(pipeline: Path) -> None:
    report = checked(pipeline)
    report.require()
    assert [(step.part, step.name, step.passed) for step in report.steps] == [
        ("detector", "pixels", None),
        ("detector", "outputs", True),
        ("detector", "detections", True),
        ("shade", "pixels", None),
        ("shade", "outputs", True),
        ("shade", "top-1", True),
    ]
    figures = report.steps[2].figures
    assert figures["expected"] == figures["matched"] >= 60
    assert report.steps[5].figures["compared"] >= 2 * 17


def test_prototypes_are_compared_as_the_source_gives_its_embedding(pipeline: Path) -> None:
    np.save(pipeline.with_name("shades.npy"), np.float32([[1, 0, 0], [0, 2, 0], [0, 0, 3]]))
    pipeline.write_text(PIPELINE + "    prototypes: shades.npy\n    logit_scale: 20\n")
    report = checked(pipeline)
    report.require()
    assert report.steps[5].figures["compared"] >= 2 * 17

    def turned(plan: Plan) -> Plan:
        (classifier,) = plan.classifiers
        assert classifier.similarity is not None
        return dataclasses.replace(
            plan,
            classifiers=(dataclasses.replace(classifier, similarity=classifier.similarity[::-1]),),
        )

    assert checked(pipeline, turned).steps[5].passed is False


def last_node(model: onnx.ModelProto, output: str, kind: str, value: np.ndarray) -> onnx.ModelProto:
    """The model with `kind(output, value)` in place of one of its outputs."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    (node,) = [node for node in changed.graph.node if node.output[0] == output]
    changed.graph.initializer.append(numpy_helper.from_array(value, "change"))
    node.CopyFrom(helper.make_node(kind, [node.input[0], "change"], [output]))
    return changed


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("candidate_boxes", np.float32([1, 0, 1, 0])),  # one pixel to the right
        ("candidate_classes", np.int32([1])),  # the next class
        ("candidate_scores", np.float32([-0.01])),
    ],
)
def test_a_detector_that_decodes_otherwise_is_refused(
    pipeline: Path, output: str, value: np.ndarray
) -> None:
    def change(plan: Plan) -> Plan:
        assert plan.detector
        graph = last_node(plan.detector.graph, output, "Add", value)
        return dataclasses.replace(plan, detector=dataclasses.replace(plan.detector, graph=graph))

    report = checked(pipeline, change)
    assert report.first_difference is not None
    assert (report.first_difference.part, report.first_difference.name) == (
        "detector",
        "detections",
    )
    with pytest.raises(
        ParityError, match=r"detector: the exported stages differ .* first in the detections"
    ):
        report.require()


def test_a_classifier_that_decodes_otherwise_is_refused(pipeline: Path) -> None:
    def change(plan: Plan) -> Plan:
        (classifier,) = plan.classifiers
        graph = last_node(classifier.graph, "label_ids", "Sub", np.int32([1]))
        return dataclasses.replace(
            plan, classifiers=(dataclasses.replace(classifier, graph=graph),)
        )

    step = checked(pipeline, change).first_difference
    assert step is not None
    assert (step.part, step.name) == ("shade", "top-1")


def test_a_network_that_differs_is_named_before_its_detections(pipeline: Path) -> None:
    def change(plan: Plan) -> Plan:
        assert plan.detector
        own = plan.detector.source.run
        source = dataclasses.replace(
            plan.detector.source, run=lambda x: {k: v * 1.01 for k, v in own(x).items()}
        )
        return dataclasses.replace(plan, detector=dataclasses.replace(plan.detector, source=source))

    step = checked(pipeline, change).first_difference
    assert step is not None
    assert (step.part, step.name) == ("detector", "outputs")
    assert step.figures["relative_difference"] == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(("value", "passed"), [(0.0, True), (20.0, False)])
def test_other_pixels_are_the_first_step(pipeline: Path, value: float, passed: bool) -> None:
    def change(plan: Plan) -> Plan:
        assert plan.detector

        def prepare(frame: np.ndarray) -> np.ndarray:
            image = np.asarray(
                Image.fromarray(frame).resize((512, 512), Image.Resampling.BILINEAR), np.float32
            )
            return ((image + value) / 255).transpose(2, 0, 1)[np.newaxis]

        source = dataclasses.replace(plan.detector.source, prepare=prepare)
        return dataclasses.replace(plan, detector=dataclasses.replace(plan.detector, source=source))

    report = checked(pipeline, change)
    assert (report.first_difference is None) is passed
    assert report.steps[0].passed is passed
    assert report.steps[0].figures["mean_difference"] == pytest.approx(value, abs=1)


def test_the_framework_s_own_post_processing_is_what_counts(pipeline: Path) -> None:
    def change(plan: Plan) -> Plan:
        assert plan.detector
        nothing = Detections(
            np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
        )
        source = dataclasses.replace(plan.detector.source, detect=lambda *_: nothing)
        return dataclasses.replace(plan, detector=dataclasses.replace(plan.detector, source=source))

    step = checked(pipeline, change).first_difference
    assert step is not None
    assert (step.name, step.figures["expected"]) == ("detections", 0)
    assert step.figures["extra"] >= 60


def test_export_publishes_nothing_that_differs(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_other_plan(*args: object, **kwargs: object) -> Plan:
        plan = make_plan(*args, **kwargs)  # type: ignore[arg-type]
        assert plan.detector
        graph = last_node(plan.detector.graph, "candidate_boxes", "Add", np.float32([0, 1, 0, 1]))
        return dataclasses.replace(plan, detector=dataclasses.replace(plan.detector, graph=graph))

    lines: list[str] = []
    out = tmp_path / "repository"
    export(pipeline, out, calibration=tmp_path / "images", report=lines.append)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr(exporting, "make_plan", make_other_plan)
    with pytest.raises(ParityError):
        export(pipeline, out, calibration=tmp_path / "images", report=lines.append)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert any("DIFFERS" in line for line in lines)


def test_tolerances_are_the_pipeline_file_s() -> None:
    limits = limits_of(Tolerances(iou=0.5, accuracy=0), "int8")
    assert (limits.iou, limits.accuracy) == (0.5, 0)
    assert limits.score == limits_of(Tolerances(), "int8").score


def test_images_that_cannot_be_compared_on(pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--calibration: no such folder"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="--calibration: no images in"):
        find_images(tmp_path / "empty")
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ExportError, match=r"broken\.jpg: not an image that the pipeline can read"):
        checked(pipeline)


@pytest.mark.parametrize(
    ("count", "most", "rows"), [(1, 3, [0]), (3, 3, [0, 1, 2]), (9, 3, [0, 4, 8])]
)
def test_images_are_spread(count: int, most: int, rows: list[int]) -> None:
    images = [Path(str(i)) for i in range(count)]
    assert spread(images, most) == [images[row] for row in rows]
