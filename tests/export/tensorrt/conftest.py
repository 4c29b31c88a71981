"""TensorRT-RTX in TensorRT's place: the same API, and no GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import tensorrt_rtx
import yaml
from contract_support import heads
from contract_support.publisher import publish_plan

from boxwise_export.pipeline import load_pipeline
from boxwise_export.plan import make_plan

CAPABILITY = "8.9"


@pytest.fixture(scope="session")
def trt() -> Any:
    return tensorrt_rtx


@pytest.fixture
def publish_detector(tmp_path: Path) -> Callable[..., Path]:
    """Publish a pipeline of one detector, with a classifier where there is one, and give the
    repository.
    """

    def write(
        model: onnx.ModelProto, classifier: onnx.ModelProto | None = None, **keys: Any
    ) -> Path:
        onnx.save(model, tmp_path / "model.onnx")
        labels = [f"kind {i}" for i in range(5)]
        document: dict[str, Any] = {"detector": {"weights": "model.onnx", "labels": labels} | keys}
        if classifier is not None:
            onnx.save(classifier, tmp_path / "classifier.onnx")
            said = {
                "name": "kind",
                "weights": "classifier.onnx",
                "labels": ["a", "b", "c"],
                "crop": {"size": 8},
            }
            document["classifiers"] = [said]
        file = tmp_path / "pipeline.yaml"
        file.write_text(yaml.safe_dump(document))
        publish_plan(
            make_plan(load_pipeline(file), cores=2), tmp_path / "repository", file=file.read_text()
        )
        return tmp_path / "repository"

    return write


@pytest.fixture
def repository(publish_detector: Callable[..., Path], mean_color: onnx.ModelProto) -> Path:
    return publish_detector(heads.yolov8(), mean_color, normalize={"std": 255})
