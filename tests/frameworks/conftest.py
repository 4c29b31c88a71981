"""What the tests of all frameworks share: real photos, and a pipeline exported around one
checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx
import torch
import yaml
from contract_support.agreement import read_images
from contract_support.publisher import publish_plan
from numpy.typing import NDArray

from boxwise_export.export import running
from boxwise_export.pipeline import load_pipeline
from boxwise_export.plan import Plan, make_plan
from boxwise_export.tensorrt.check import check_graphs
from boxwise_runtime.pipeline_runner import PipelineRunner

Images = list[NDArray[np.uint8]]


@pytest.fixture(scope="session")
def images(shared_data: Path) -> Images:
    """Eight COCO photos."""
    torch.set_num_threads(2)
    return read_images(shared_data)


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., Any]:
    """`planned(detector={...})` -> the plan, and the runner of its exported stages."""

    @contextmanager
    def make(**document: Any) -> Iterator[tuple[Plan, PipelineRunner]]:
        file = tmp_path / "pipeline.yaml"
        file.write_text(yaml.safe_dump(document))
        plan = make_plan(load_pipeline(file), cores=2)
        with running(plan) as runner:
            yield plan, runner

    return make


@pytest.fixture
def save(tmp_path: Path) -> Callable[[torch.nn.Module], str]:
    """Write a module's weights, and give the file."""

    def write(module: torch.nn.Module) -> str:
        file = tmp_path / "weights.pth"
        torch.save(module.state_dict(), file)
        return str(file)

    return write


@pytest.fixture
def assert_tensorrt_reads(tmp_path: Path) -> Callable[[Plan], None]:
    """TensorRT-RTX reads the graphs of a plan, or fails for a reason of its own that is listed."""

    def check(plan: Plan) -> None:
        repository = tmp_path / "repository"
        publish_plan(plan, repository, file="")
        for each in check_graphs(repository, None, tensorrt_rtx):
            assert each.passed, each.problem

    return check
