"""Every family's graph, read by TensorRT-RTX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from contract_support import heads

from boxwise_export.errors import ExportError
from boxwise_export.tensorrt import check
from boxwise_export.tensorrt.check import KNOWN_LIMITS, check_graphs, for_capability
from boxwise_export.tensorrt.engine import EngineError

UNIT = {"normalize": {"std": 255}}
GENERIC = {
    "family": "generic",
    "tensors": {"boxes": "where", "scores": "scores", "box_format": "cxcywh"},
}


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        (heads.centernet, {}),
        (heads.yolov5, {}),
        (heads.yolov8, {}),
        (heads.yolov10, {}),
        (heads.yolox, {}),
        (lambda: heads.yolox(decoded=True), {}),
        (heads.nanodet, {}),
        (heads.ssd, {"family": "ssd", "background": "first", "anchors": "anchors.npy"}),
        (heads.retinanet, {}),
        (heads.fcos, {}),
        (heads.detr, {"activation": "softmax"}),
        (lambda: heads.detr(softmax=False), {}),
        (
            lambda: heads.boxes_and_scores(
                lambda net, boxes, scores: {"where": boxes, "scores": scores}
            ),
            GENERIC,
        ),
    ],
    ids=[
        *(
            "centernet",
            "yolov5",
            "yolov8",
            "yolov10",
            "yolox",
            "yolox-decoded",
            "nanodet",
            "ssd",
            "retinanet",
            "fcos",
        ),
        *("detr", "rt-detr", "generic"),
    ],
)
def test_every_family_is_read(
    model: Callable[[], onnx.ModelProto], keys: Any, publish_detector: Any, trt: Any, tmp_path: Path
) -> None:
    np.save(tmp_path / "anchors.npy", heads.ssd_anchors())
    (checked,) = check_graphs(publish_detector(model(), **UNIT, **keys), None, trt)
    assert checked.model == "boxwise_detector"
    assert checked.problem is None, checked.problem


def test_as_many_rows_as_there_are_need_an_operator_that_is_listed(
    publish_detector: Any, trt: Any
) -> None:
    (checked,) = check_graphs(
        publish_detector(heads.faster_rcnn(), **UNIT, background="first"), None, trt
    )
    assert checked.known == KNOWN_LIMITS["NonZero"]


@pytest.mark.parametrize("name", ["yolox_nano_coco", "nanodet_m_coco"])
def test_real_models_are_built(
    name: str, publish_detector: Any, trt: Any, shared_data: Path
) -> None:
    model = onnx.load(shared_data / "models" / f"{name}.onnx")
    (checked,) = check_graphs(publish_detector(model, labels="coco"), None, trt, capability="8.9")
    assert checked.problem is None, checked.problem


def test_what_it_cannot_do_is_listed_and_all_else_fails(repository: Path, trt: Any) -> None:
    graph = repository / "boxwise_detector" / "1" / "model.onnx"
    model = onnx.load(graph)
    next(node for node in model.graph.node if node.op_type == "TopK").op_type = "NonMaxSuppression"
    graph.write_bytes(model.SerializeToString())
    detector, classifier = check_graphs(repository, None, trt)
    assert detector.known == KNOWN_LIMITS["NonMaxSuppression"]
    assert detector.passed
    next(
        node for node in model.graph.node if node.op_type == "NonMaxSuppression"
    ).op_type = "Nothing"
    graph.write_bytes(model.SerializeToString())
    detector, classifier = check_graphs(repository, None, trt)
    assert not detector.passed
    assert detector.known is None
    assert classifier.passed


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        (["NonZero a: x"], True),
        (["NonZero a: x", "RoiAlign b: y"], True),
        (["NonZero a: x", "Cast b: y"], False),
        ([], False),
    ],
)
def test_a_known_error_hides_no_other(
    repository: Path, trt: Any, monkeypatch: pytest.MonkeyPatch, said: list[str], passed: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise EngineError("; ".join(said), said)

    monkeypatch.setattr(check, "parse", refuse)
    assert [each.passed for each in check_graphs(repository, None, trt)] == [passed] * 2


def test_an_unknown_capability_is_no_fault_of_a_graph(repository: Path, trt: Any) -> None:
    with pytest.raises(ExportError, match=r"--capability: '5\.0' is not known"):
        check_graphs(repository, None, trt, capability="5.0")


def test_an_unknown_capability_says_which_are_known(trt: Any) -> None:
    with pytest.raises(
        ExportError,
        match=r"--capability: '5\.0' is not known to TensorRT-RTX; expected one of .*8\.9",
    ):
        for_capability(trt, "5.0")
