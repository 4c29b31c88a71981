"""Templates carry their explanations into what is rendered."""

from itertools import pairwise

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from boxwise_export.repository.configs import Template, set_parameters, set_shape, templates_folder

TEMPLATES = sorted(
    (
        path.relative_to(templates_folder()).parts[0],
        str(path.relative_to(templates_folder() / path.parts[-2])),
    )
    if path.parent.name != "configs"
    else (path.parent.parent.name, f"configs/{path.name}")
    for path in templates_folder().rglob("*.pbtxt")
)


def test_every_stage_is_there() -> None:
    assert {stage for stage, _ in TEMPLATES} == {
        "preprocess",
        "whole_picture",
        "detector",
        "nms",
        "classifier",
        "assemble",
        "info",
        "ensemble",
        "fused",
        "bls",
    }
    assert ("detector", "configs/tensorrt.pbtxt") in TEMPLATES


@pytest.mark.parametrize(("stage", "file"), TEMPLATES)
def test_what_is_rendered_says_the_same_and_explains_every_statement(stage: str, file: str) -> None:
    template = Template.load(stage, file)
    config = template.copy("some_name")
    text = template.render(config)
    assert text_format.Parse(text, model_config_pb2.ModelConfig()) == config
    lines = text.splitlines()
    unexplained = [
        line
        for before, line in pairwise(lines)
        if line[:1].isalpha()
        and not before.startswith("#")
        and line.split(":")[0].split()[0] not in NAMES
    ]
    assert unexplained == []


# These hold no number, and say what they are.
NAMES = ("name", "backend", "platform", "default_model_filename")


def test_a_comment_follows_its_statement_and_its_alias() -> None:
    template = Template.load("assemble")
    config = template.copy("p_assemble")
    config.input[1].name = "vehicle_rows"
    text = template.render(config, {"vehicle_rows": "classifier_rows"})
    assert (
        '# The rows of the boxes that this classifier ran on.\ninput {\n  name: "vehicle_rows"'
        in text
    )


def test_shapes_and_parameters_are_filled_in() -> None:
    template = Template.load("nms")
    config = template.copy("p_nms")
    set_shape(config.input, "candidate_boxes", (1, 300, 4))
    for key in [key for key in config.parameters if key.startswith("crops.")]:
        del config.parameters[key]
    set_parameters(config, {"nms": True, "class_agnostic": False})
    text = template.render(config)
    assert "dims: 300" in text
    assert '# false if the detector returns one box per object.\nparameters {\n  key: "nms"' in text
    assert 'string_value: "true"' in text


def test_a_stage_and_its_template_cannot_drift_apart() -> None:
    config = Template.load("assemble").copy("p_assemble")
    with pytest.raises(
        ValueError,
        match=r"p_assemble: the template's parameters differ from the stage's in classif.*, soft",
    ):
        set_parameters(config, {"soft": True})
