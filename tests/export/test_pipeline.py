"""The pipeline file: what it means, and what is said of a wrong one."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from boxwise_export.errors import PipelineError
from boxwise_export.pipeline import Pipeline, load_pipeline

Write = Callable[[str], Path]
DETECTOR = "detector: {weights: detector.onnx, labels: coco}\n"


def test_defaults(write_pipeline: Write) -> None:
    pipeline = load_pipeline(write_pipeline(DETECTOR))
    assert pipeline.name == "boxwise"
    assert pipeline.detector is not None
    assert (pipeline.detector.score_threshold, pipeline.detector.iou_threshold) == (0.25, 0.5)
    assert pipeline.detector.max_detections == 100
    assert pipeline.max_megapixels == 25


def test_paths_are_relative_to_the_file(write_pipeline: Write, tmp_path: Path) -> None:
    text = "detector: {weights: detector.onnx, labels: names.txt}\n"
    pipeline = load_pipeline(write_pipeline(text))
    assert pipeline.detector is not None
    assert pipeline.detector.weights.file == tmp_path / "detector.onnx"
    assert pipeline.detector.labels == str(tmp_path / "names.txt")


def test_one_number_stands_for_both_sides_and_all_channels(write_pipeline: Write) -> None:
    pipeline = load_pipeline(
        write_pipeline(
            "classifiers: [{name: a, weights: a.onnx, labels: [x], crop: {size: 224}, "
            "normalize: {mean: 127, std: 128}}]"
        )
    )
    (classifier,) = pipeline.classifiers
    assert classifier.crop.size == (224, 224)
    assert classifier.normalize.mean == (127, 127, 127)


def test_the_former_name_of_bls_is_read_with_a_warning(write_pipeline: Write) -> None:
    text = DETECTOR + "layout: glued\nserving: {instances: {glued: 3, detector: 2}, threads: 2}\n"
    with pytest.warns(FutureWarning) as warned:
        pipeline = load_pipeline(write_pipeline(text))
    assert pipeline.layout == "bls"
    assert pipeline.serving.instances == {"bls": 3, "detector": 2}
    assert pipeline.serving.threads == 2
    layout, instances = (str(each.message) for each in warned)
    assert layout.startswith("layout: glued: this layout is called bls now")
    assert instances.endswith("write serving.instances.bls")


@pytest.mark.parametrize("name", ["demo.yaml", "starter.yaml"])
def test_the_files_we_ship_are_valid(name: str) -> None:
    text = files("boxwise_export").joinpath(name).read_text(encoding="utf-8")
    assert Pipeline.model_validate(yaml.safe_load(text)).name == "boxwise"


def test_every_key_of_the_starter_that_is_commented_out_is_valid_too() -> None:
    text = files("boxwise_export").joinpath("starter.yaml").read_text(encoding="utf-8")
    keys = (
        "family",
        "candidates",
        "max_batch_size",
        "canvas",
        "  size",
        "  resize",
        "  pad_value",
        "  interpolation",
        "  color_order",
        "  scaled_decoding",
        "normalize",
        "threshold",
        "resize_shorter",
        "interpolation",
        "color_order",
    )
    lines = []
    for line in text.splitlines():
        bare = (
            line.replace("# ", "", 1)
            if any(line.lstrip().startswith(f"# {key}:") for key in keys)
            else line
        )
        lines.append(bare)
    document = yaml.safe_load("\n".join(lines))
    assert document["detector"]["canvas"]["resize"] == "letterbox"
    assert document["detector"]["candidates"] == 1000
    document["classifiers"][0]["activation"] = "sigmoid"  # what `threshold` belongs to
    Pipeline.model_validate(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys such as `detector:`"),
        ("- 1\n", "expected keys such as `detector:`"),
        ("a: [", "not valid YAML"),
        ("name: a", "expected a detector, classifiers or both; found neither"),
        ("name: 3x\n" + DETECTOR, "name: expected a letter, then letters"),
        ("name: a_info\n" + DETECTOR, "name: ends like one of its own stages"),
        ("detektor: 1\n" + DETECTOR, "detektor: unknown key (did you mean `detector`?)"),
        ("detector: {labels: coco}", "detector.weights: missing; add it"),
        (
            "detector: {weights: a.onnx, labels: coco, scor_threshold: 1}",
            "did you mean `score_threshold`?",
        ),
        (
            "detector: {weights: a.onnx, labels: coco, iou_threshold: 7}",
            "detector.iou_threshold: input should be less than or equal to 1, got 7",
        ),
        (
            "detector: {weights: a.onnx, labels: coco, max_detections: 1001}",
            "detector.max_detections: input should be less than or equal to 1000, got 1001",
        ),
        (
            "detector: {weights: a.onnx, labels: coco, candidates: 50}",
            "candidates: 50 cannot fill max_detections: 100",
        ),
        (
            "detector: {weights: a.onnx, labels: coco, normalize: {std: 0}}",
            "detector.normalize.std: expected numbers other than 0",
        ),
        (
            "classifiers: [{name: A, weights: a.onnx, labels: [x], crop: {size: 8}}]",
            "classifiers.0.name: string should match pattern",
        ),
        *(
            (
                f"classifiers: [{{name: {name}, weights: a.onnx, labels: [x], crop: {{size: 8}}}}]",
                f"classifiers.0.name: its output {name}_ids or {name}_scores is the name of "
                "another tensor",
            )
            for name in ("class", "candidate", "dog_label")
        ),
        (
            "classifiers: [{name: a, weights: a.onnx, labels: [x], activation: softmax, "
            "threshold: 0.5}]",
            "threshold: belongs to `activation: sigmoid`",
        ),
        (
            "classifiers: [{name: a, weights: a.onnx, labels: [x], crop: {size: 8, "
            "resize_shorter: 4}}]",
            "resize_shorter: 4 is smaller than the crop [8, 8]",
        ),
        (
            "classifiers: [{name: a, weights: a.onnx, labels: [x], crop: {size: 8}, only: [car]}]",
            "classifiers.a.only: there is no detector",
        ),
        (
            DETECTOR
            + "classifiers: [{name: a, weights: a.onnx, labels: [x], crop: {size: 8}, only: []}]",
            "classifiers.a.only: empty, so it would never run",
        ),
        (
            "detector: {weights: a.onnx, labels: coco, canvas: {scaled_decoding: true}}\n"
            "classifiers: [{name: a, weights: a.onnx, labels: [x], crop: {size: 8}}]",
            "detector.canvas.scaled_decoding: classifiers are cut out of the whole image",
        ),
        (
            "classifiers: [&a {name: a, weights: a.onnx, labels: [x], crop: {size: 8}}, *a]",
            "classifiers: two are named a",
        ),
    ],
)
def test_a_wrong_file_names_the_key_and_the_fix(
    write_pipeline: Write, text: str, message: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        load_pipeline(write_pipeline(text))
    assert message in str(caught.value)
    assert "pipeline.yaml" in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no such file; `boxwise init` writes one"):
        load_pipeline(tmp_path / "nothing.yaml")
