"""Every configuration, also of the targets that the bundled server cannot serve, against what it
would load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

TARGETS = ("embedded", "onnxruntime", "tensorrt")
ONNX_TYPES = {
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(float)": "TYPE_FP32",
    "tensor(int32)": "TYPE_INT32",
}
Edge = tuple[str, list[int]]


def config_file(model: Path, target: str) -> Path:
    """As Triton picks it: configs/<target>.pbtxt where there is one, else config.pbtxt."""
    own = model / "configs" / f"{target}.pbtxt"
    return own if target != "embedded" and own.exists() else model / "config.pbtxt"


def parse(file: Path) -> Any:
    return text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())


def type_name(tensor: Any) -> str:
    return str(model_config_pb2.DataType.Name(tensor.data_type))


def edges(config: Any, way: str) -> dict[str, Edge]:
    """Tensor -> type and full shape: a batching model's has a batch dimension in front."""
    batch = [-1] if config.max_batch_size else []
    return {
        tensor.name: (type_name(tensor), batch + list(tensor.dims))
        for tensor in getattr(config, way)
    }


def fits(one: Edge, other: Edge) -> bool:
    sides = zip(one[1], other[1], strict=False)
    return (
        one[0] == other[0]
        and len(one[1]) == len(other[1])
        and all(a == b or -1 in (a, b) for a, b in sides)
    )


@pytest.fixture(scope="module")
def models(repository: Path) -> list[Path]:
    folders = sorted(path.parent for path in repository.glob("*/config.pbtxt"))
    assert len(folders) > 30
    return folders


@pytest.fixture(scope="module")
def networks(models: list[Path]) -> list[Path]:
    """The detectors and classifiers."""
    found = [model for model in models if (model / "1" / "model.onnx").exists()]
    assert len(found) >= 2 + 1 + 4 + 2 + 2
    return found


@pytest.fixture(scope="module")
def sessions(networks: list[Path]) -> dict[str, ort.InferenceSession]:
    return {model.name: ort.InferenceSession(str(model / "1" / "model.onnx")) for model in networks}


@pytest.fixture(scope="module", params=TARGETS)
def configs(models: list[Path], request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Every model's configuration under one target."""
    return {model.name: parse(config_file(model, request.param)) for model in models}


def ensembles(configs: Mapping[str, Any]) -> Iterator[Any]:
    found = [config for config in configs.values() if config.platform == "ensemble"]
    assert len(found) >= 2 * 5
    return iter(found)


def test_every_file_parses_and_names_its_folder(models: list[Path]) -> None:
    for model in models:
        for file in (model / "config.pbtxt", *sorted(model.glob("configs/*.pbtxt"))):
            assert parse(file).name == model.name, file


def test_the_networks_and_only_they_differ_between_the_targets(
    models: list[Path], networks: list[Path]
) -> None:
    for model in models:
        found = sorted(file.stem for file in model.glob("configs/*.pbtxt"))
        assert found == (["onnxruntime", "tensorrt"] if model in networks else []), model.name


def test_each_target_loads_its_own_backend(networks: list[Path]) -> None:
    expected = {
        "embedded": ("python", ""),
        "onnxruntime": ("onnxruntime", "model.onnx"),
        "tensorrt": ("tensorrt", "model.plan"),
    }
    for model in networks:
        for target, (backend, file) in expected.items():
            config = parse(config_file(model, target))
            assert (config.backend, config.default_model_filename) == (backend, file), (
                model.name,
                target,
            )
            assert file != "model.onnx" or (model / "1" / file).exists()


def test_every_name_type_and_shape_is_that_of_the_graph(
    networks: list[Path], sessions: dict[str, ort.InferenceSession]
) -> None:
    for model in networks:
        session = sessions[model.name]
        for target in TARGETS:
            config = parse(config_file(model, target))
            for way, tensors in (
                ("input", session.get_inputs()),
                ("output", session.get_outputs()),
            ):
                loaded = {
                    tensor.name: (ONNX_TYPES[tensor.type], tensor.shape[1:]) for tensor in tensors
                }
                stated = {
                    tensor.name: (type_name(tensor), list(tensor.dims))
                    for tensor in getattr(config, way)
                }
                assert stated == loaded, (model.name, target)
                for tensor in tensors:
                    dynamic = isinstance(tensor.shape[0], str)
                    assert dynamic if config.max_batch_size > 1 else tensor.shape[0] in (1, "batch")


def test_the_graphs_take_the_batch_that_is_promised(
    networks: list[Path], sessions: dict[str, ort.InferenceSession]
) -> None:
    for model in networks:
        config = parse(model / "config.pbtxt")
        batch = min(config.max_batch_size, 3)
        (tensor,) = config.input
        images = np.random.default_rng(0).integers(0, 256, (batch, *tensor.dims)).astype(np.uint8)
        together = sessions[model.name].run(None, {tensor.name: images})
        assert [len(output) for output in together] == [batch] * len(together)


def test_requests_are_batched_on_gpu_targets_alone(
    networks: list[Path], models: list[Path]
) -> None:
    for model in models:
        for target in TARGETS:
            batched = parse(config_file(model, target)).HasField("dynamic_batching")
            assert batched == (model in networks and target != "embedded"), (model.name, target)


def test_a_classifier_takes_every_box_of_an_image(
    configs: Mapping[str, Any], repository: Path
) -> None:
    for name, config in configs.items():
        pipeline, classifier, _ = name.partition("_classifier_")
        if classifier and f"{pipeline}_preprocess" in configs:
            stage = parse(repository / f"{pipeline}_preprocess" / "config.pbtxt")
            assert config.max_batch_size >= int(stage.parameters["max_detections"].string_value)


def test_every_edge_of_an_ensemble_fits_both_of_its_ends(
    configs: Mapping[str, Any], repository: Path
) -> None:
    for ensemble in ensembles(configs):
        flowing = edges(ensemble, "input")  # tensor of the ensemble -> type and shape, as produced
        consumed: set[str] = set()
        for step in ensemble.ensemble_scheduling.step:
            where = f"{ensemble.name}, step {step.model_name}"
            assert (repository / step.model_name / str(step.model_version)).is_dir(), where
            model = configs[step.model_name]
            produced = edges(model, "output")
            for output, tensor in step.output_map.items():
                assert output in produced, f"{where}: it gives no {output}"
                assert tensor not in flowing, f"{where}: {tensor} has two producers"
                flowing[tensor] = produced[output]
        for step in ensemble.ensemble_scheduling.step:
            where = f"{ensemble.name}, step {step.model_name}"
            model = configs[step.model_name]
            taken = edges(model, "input")
            for name, tensor in step.input_map.items():
                assert name in taken, f"{where}: it takes no {name}"
                assert tensor in flowing, f"{where}: nobody produces {tensor}"
                assert fits(flowing[tensor], taken[name]), (
                    f"{where}: {tensor} {flowing[tensor]} -> {taken[name]}"
                )
                consumed.add(tensor)
            needed = {tensor.name for tensor in model.input if not tensor.optional}
            assert needed <= set(step.input_map), (
                f"{where}: {needed - set(step.input_map)} is not fed"
            )
        results = edges(ensemble, "output")
        for name, result in results.items():
            assert fits(flowing[name], result), (
                f"{ensemble.name}: {name} {flowing[name]} -> {result}"
            )
        assert set(flowing) == consumed | set(results), f"{ensemble.name}: computed for nobody"


def test_the_first_stage_runs_whatever_is_left_out(configs: Mapping[str, Any]) -> None:
    """So that it can say what is missing; what of the request goes further,
    it has checked by then.
    """
    for ensemble in ensembles(configs):
        assert all(tensor.optional for tensor in ensemble.input)
        first = ensemble.ensemble_scheduling.step[0]
        takes = {tensor.name: tensor.optional for tensor in configs[first.model_name].input}
        assert set(first.input_map.values()) == {tensor.name for tensor in ensemble.input}
        assert all(takes[name] for name in first.input_map)


def test_every_step_names_the_version_it_runs(configs: Mapping[str, Any]) -> None:
    for ensemble in ensembles(configs):
        assert all(step.model_version > 0 for step in ensemble.ensemble_scheduling.step)


def test_an_image_and_a_frame_take_the_same_way(configs: Mapping[str, Any]) -> None:
    for ensemble in ensembles(configs):
        if ensemble.name.endswith("_raw"):
            continue
        raw = configs[f"{ensemble.name}_raw"]
        assert edges(raw, "output") == edges(ensemble, "output")
        steps = [
            [step.model_name for step in each.ensemble_scheduling.step] for each in (ensemble, raw)
        ]
        assert steps[0] == steps[1]


def test_every_number_stands_under_a_comment(models: list[Path]) -> None:
    for model in models:
        for file in (model / "config.pbtxt", *sorted(model.glob("configs/*.pbtxt"))):
            before = ""
            for statement in re.split(r"\n(?=\S)", file.read_text()):
                if re.search(r"\d", statement) and not statement.startswith(("#", "name:")):
                    assert before.startswith("# "), (
                        f"{file.relative_to(model.parent)}: unexplained: {statement}"
                    )
                before = statement
