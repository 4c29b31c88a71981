"""A repository gets its plans: all of them, compared, at once, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_support.agreement import read_images
from numpy.typing import NDArray

from boxwise_export.errors import ExportError
from boxwise_export.repository.atomic_dir import write_file
from boxwise_export.tensorrt.build import BuiltEngine, build_engines, plan_key, profile_of
from boxwise_export.tensorrt.check import for_capability
from boxwise_export.tensorrt.engine import EngineError, Profile
from boxwise_export.tensorrt.gpu import Gpu
from boxwise_runtime.pipeline_runner import Graph
from boxwise_runtime.session import OnnxGraph

GPU = Gpu("a GPU", "8.9")


@pytest.fixture
def run(
    repository: Path, tmp_path: Path, trt: Any, shared_data: Path
) -> Callable[..., list[BuiltEngine]]:
    frames = read_images(shared_data, 2)

    def build(load: Any = None, **options: Any) -> list[BuiltEngine]:
        options = {"trt": trt, "gpu": GPU, "cache": tmp_path / "cache", "frames": frames} | options
        return build_engines(
            repository, None, load=load, configure=for_capability(trt, "8.9"), **options
        )

    return build


def plans(repository: Path) -> list[str]:
    return sorted(path.parent.parent.name for path in repository.glob("*/*/model.plan"))


class Plans:
    """Stands where a GPU would run a plan: runs the graph that the plan was built from, or
    something else.
    """

    def __init__(
        self,
        repository: Path,
        spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda outputs: outputs,
    ):
        self.graphs = [
            OnnxGraph(repository / name / "1" / "model.onnx")
            for name in ("boxwise_detector", "boxwise_classifier_kind")
        ]
        self.spoil = spoil

    def __call__(self, plan: bytes) -> Graph:
        graph = self.graphs.pop(0)

        def run(inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
            return self.spoil(dict(graph(inputs)))

        return run


def test_every_graph_gets_a_plan_and_the_cache_keeps_it(
    run: Callable[..., list[BuiltEngine]], repository: Path, tmp_path: Path
) -> None:
    built = run()
    assert [(each.model, each.version, each.cached) for each in built] == [
        ("boxwise_detector", 1, False),
        ("boxwise_classifier_kind", 1, False),
    ]
    assert plans(repository) == ["boxwise_classifier_kind", "boxwise_detector"]
    for each in built:
        plan = (repository / each.model / "1" / "model.plan").read_bytes()
        assert plan == (tmp_path / "cache" / f"{each.key}.plan").read_bytes()
        assert len(plan) == each.bytes
    for plan in repository.glob("*/*/model.plan"):
        plan.unlink()
    assert all(each.cached for each in run())
    assert len(plans(repository)) == 2
    assert not any(each.cached for each in run(rebuild=True))
    assert not list(repository.rglob(".*")), "nothing is left beside"


def test_plans_that_agree_are_put_in_place(
    run: Callable[..., list[BuiltEngine]], repository: Path
) -> None:
    said: list[str] = []
    run(Plans(repository), report=said.append)
    assert len(plans(repository)) == 2
    steps = [line for line in said if " ok " in line]
    assert len(steps) == 2
    assert "detections matched" in steps[0]
    assert "best label" in steps[1]


def moved(outputs: dict[str, Any]) -> dict[str, Any]:
    """Two pixels to the right."""
    if "candidate_boxes" in outputs:
        outputs["candidate_boxes"] = outputs["candidate_boxes"] + np.float32([2, 0, 2, 0])
    return outputs


def other_label(outputs: dict[str, Any]) -> dict[str, Any]:
    if "label_ids" in outputs:
        outputs["label_ids"] = outputs["label_ids"][:, ::-1]
    return outputs


@pytest.mark.parametrize(
    ("spoil", "part"),
    [(moved, "detector: .* in the detections"), (other_label, "kind: .* in the top-1")],
)
def test_a_plan_that_differs_is_refused(
    run: Callable[..., list[BuiltEngine]], repository: Path, spoil: Any, part: str
) -> None:
    with pytest.raises(EngineError, match=part):
        run(Plans(repository, spoil))
    assert plans(repository) == []


def test_a_failure_leaves_earlier_plans(
    run: Callable[..., list[BuiltEngine]], repository: Path, tmp_path: Path
) -> None:
    run()
    before = (repository / "boxwise_detector" / "1" / "model.plan").read_bytes()
    write_file(repository / "boxwise_classifier_kind" / "1" / "model.onnx", b"no graph")
    with pytest.raises(ExportError, match="boxwise_classifier_kind"):
        run(rebuild=True)
    assert (repository / "boxwise_detector" / "1" / "model.plan").read_bytes() == before


def test_a_key_is_of_everything_that_a_plan_depends_on(repository: Path) -> None:
    graph = repository / "boxwise_detector" / "1" / "model.onnx"
    profile = profile_of(graph)
    keys = {
        plan_key(graph, "11.4", "8.9", profile),
        plan_key(graph, "11.5", "8.9", profile),
        plan_key(graph, "11.4", "9.0", profile),
        plan_key(graph, "11.4", "8.9", Profile("canvas", (256, 256, 3), 4)),
        plan_key(
            repository / "boxwise_classifier_kind" / "1" / "model.onnx", "11.4", "8.9", profile
        ),
    }
    assert len(keys) == 5
    assert plan_key(graph, "11.4", "8.9", profile) in keys
