"""Layouts: which models there are, what their numbers are, and what is said of a wrong one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract_support.publisher import publish_plan

from boxwise_export.errors import ExportError, PipelineError
from boxwise_export.pipeline import load_pipeline
from boxwise_export.plan import make_plan
from boxwise_export.repository.configs import Template
from boxwise_export.repository.manifest import find_manifest
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.revisions import rollback
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_export.tensorrt.build import graphs_of
from boxwise_runtime.targets import TARGETS

Write = Callable[[str], Path]
DETECTOR = "name: street\ndetector: {weights: detector.onnx, labels: [car, dog]}\n"
CLASSIFIER = (
    "classifiers: [{name: color, weights: classifier.onnx, labels: [red, green, blue], crop: "
    "{size: 8}}]\n"
)
BOTH = DETECTOR + CLASSIFIER
OUTPUTS = {"boxes", "scores", "class_ids", "image_size"}


@pytest.fixture
def published(write_pipeline: Write, tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        publish_plan(
            make_plan(load_pipeline(write_pipeline(text)), cores=2),
            tmp_path / "repository",
            file=text,
        )
        return tmp_path / "repository"

    return write


def config(repository: Path, model: str, file: str = "config.pbtxt") -> Any:
    return Template.read((repository / model / file).read_text()).config


def models(repository: Path) -> set[str]:
    return {path.parent.name.removeprefix("street") for path in repository.glob("*/config.pbtxt")}


@pytest.mark.parametrize(
    ("layout", "stages"),
    [
        ("ensemble", {"_preprocess", "_detector", "_nms", "_classifier_color", "_assemble"}),
        ("bls", {"_detector", "_classifier_color"}),
        ("fused", set()),
    ],
)
def test_a_layout_has_its_models(
    published: Callable[[str], Path], layout: str, stages: set[str]
) -> None:
    repository = published(BOTH + f"layout: {layout}\n")
    assert models(repository) == {"", "_raw", "_info"} | stages
    assert {each.name for each in config(repository, "street").output} == OUTPUTS | {
        "color_ids",
        "color_scores",
    }
    steps = {step.model_name for step in config(repository, "street_raw").ensemble_scheduling.step}
    assert steps == ({f"street{stage}" for stage in stages} if layout == "ensemble" else {"street"})


@pytest.mark.parametrize(
    "text", [DETECTOR, "name: street\n" + CLASSIFIER], ids=["detector", "classifier"]
)
@pytest.mark.parametrize("layout", ["bls", "fused"])
def test_half_a_pipeline_has_every_layout(
    published: Callable[[str], Path], layout: str, text: str
) -> None:
    repository = published(text + f"layout: {layout}\n")
    parameters = config(repository, "street").parameters
    assert ("preprocess.canvas_height" in parameters) == ("detector" in text)
    assert ("top_k.color" in parameters) == ("classifiers" in text)


def test_processes_and_threads_are_those_of_the_pipeline_file(
    published: Callable[[str], Path],
) -> None:
    text = BOTH + "serving: {instances: {detector: 3, nms: 1}, threads: 2, queue_delay_us: 900}\n"
    repository = published(text)
    counts = {
        stage: config(repository, f"street_{stage}").instance_group[0].count
        for stage in ("detector", "nms")
    }
    assert counts == {"detector": 3, "nms": 1}
    assert config(repository, "street_preprocess").instance_group[0].count == 2  # the cores
    assert config(repository, "street_detector").parameters["threads"].string_value == "2"
    gpu = config(repository, "street_detector", "configs/tensorrt.pbtxt")
    assert (gpu.dynamic_batching.max_queue_delay_microseconds, gpu.instance_group[0].count) == (
        900,
        1,
    )


def test_a_joined_model_has_its_own_number_of_processes(published: Callable[[str], Path]) -> None:
    repository = published(BOTH + "layout: bls\nserving: {instances: {bls: 5}, in_flight: 7}\n")
    bls = config(repository, "street")
    assert (bls.instance_group[0].count, bls.parameters["in_flight"].string_value) == (5, "7")
    assert bls.parameters["versions.detector"].string_value == "1"


@pytest.mark.parametrize(
    ("serving", "expected"), [("", "244"), (", in_flight: 7", "777"), (", in_flight: 2", "222")]
)
def test_in_flight_follows_the_target_unless_it_is_given(
    published: Callable[[str], Path], serving: str, expected: str
) -> None:
    repository = published(BOTH + "layout: bls\n")
    published(BOTH + f"layout: bls\nserving: {{response_cache: true{serving}}}\n")
    configs = [config(repository, "street", target.config) for target in TARGETS.values()]
    assert [each.parameters["in_flight"].string_value for each in configs] == list(expected)
    assert all(each.response_cache.enable for each in configs)
    settled = find_manifest(repository).serving()
    assert settled.in_flight == (int(expected[0]) if serving else None)
    again = change_layout(repository, "street", settled)
    assert again.changed == []


def test_the_networks_of_bls_refuse_nobody_who_was_let_in(
    published: Callable[[str], Path],
) -> None:
    repository = published(BOTH + "serving: {max_queue: 2, max_wait_ms: 500}\n")

    def limits(model: str) -> tuple[str, ...]:
        parameters = config(repository, model).parameters
        return tuple(parameters[key].string_value for key in ("max_queue", "max_wait_ms"))

    assert limits("street_detector") == ("2", "500")
    change_layout(repository, None, ServingConfig("bls"))
    assert limits("street") == ("2", "500")
    assert limits("street_detector") == limits("street_classifier_color") == ("64", "10000")
    change_layout(repository, None, ServingConfig("ensemble"))
    assert limits("street_preprocess") == limits("street_detector") == ("2", "500")


def test_an_unknown_stage_is_named(write_pipeline: Write) -> None:
    with pytest.raises(
        PipelineError, match=r"serving.instances.crop: there is no such stage; there are preprocess"
    ):
        load_pipeline(write_pipeline(BOTH + "serving: {instances: {crop: 2}}\n"))


@pytest.mark.parametrize("layout", ["bls", "fused"])
def test_every_statement_of_a_joined_model_is_explained(
    published: Callable[[str], Path], layout: str
) -> None:
    repository = published(BOTH + f"layout: {layout}\n")
    template = Template.read((repository / "street" / "1" / "config.pbtxt").read_text())
    statements = [("input", each.name) for each in template.config.input]
    statements += [("output", each.name) for each in template.config.output]
    statements += [("parameters", key) for key in template.config.parameters]
    assert [each for each in statements if not template.comments.get(each)] == []


def test_a_layout_is_a_revision_and_can_be_gone_back_from(published: Callable[[str], Path]) -> None:
    repository = published(BOTH)
    before = models(repository)
    assert change_layout(repository, None, ServingConfig("fused")).revision.number == 2
    assert models(repository) == {"", "_raw", "_info"}
    assert change_layout(repository, "street", ServingConfig("fused")).changed == []
    rollback(repository)
    assert models(repository) == before


def test_what_was_arranged_stays_when_something_else_is(published: Callable[[str], Path]) -> None:
    repository = published(BOTH + "serving: {instances: {detector: 3}}\n")
    change_layout(repository, None, ServingConfig(instances={"nms": 1}))
    assert config(repository, "street_detector").instance_group[0].count == 3
    assert config(repository, "street_nms").instance_group[0].count == 1


def test_fused_graphs_are_not_tensorrt_s(published: Callable[[str], Path]) -> None:
    repository = published(BOTH + "layout: fused\n")
    with pytest.raises(ExportError, match="layout fused runs its graphs inside one model"):
        graphs_of(repository, find_manifest(repository).revision())
