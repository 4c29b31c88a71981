"""Every target has its configurations, its image and its name in the chart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boxwise_export.repository.configs import Template
from boxwise_runtime.targets import TARGETS, Target

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", TARGETS.values(), ids=str)
def test_networks_have_a_configuration_for_it(target: Target) -> None:
    for stage in ("detector", "classifier"):
        config = Template.load(stage, target.config).config
        assert config.backend == target.backend
        kind = type(config.instance_group[0]).Kind.Name(config.instance_group[0].kind)
        assert kind == target.instance_kind
        assert config.HasField("dynamic_batching") != target.joins_networks


@pytest.mark.parametrize("target", TARGETS.values(), ids=str)
def test_an_image_deploys_it(target: Target) -> None:
    assert (ROOT / target.image).is_file()


def test_triton_is_told_which_configurations_to_read() -> None:
    arguments = {name: target.arguments for name, target in TARGETS.items()}
    assert arguments == {
        "embedded": (),
        "onnxruntime": ("--model-config-name=onnxruntime",),
        "tensorrt": ("--model-config-name=tensorrt",),
    }


def test_the_chart_has_the_same_names() -> None:
    schema = json.loads((ROOT / "helm/boxwise/values.schema.json").read_text())
    assert schema["properties"]["target"]["enum"] == ["", *TARGETS]
