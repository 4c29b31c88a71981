"""torchvision's detectors and classifiers, exported, against torchvision itself from the pixels to
the boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from contract_support.agreement import assert_finds
from contract_support.seeded import Spread, as_batch, assert_classifies, waken
from numpy.typing import NDArray
from torch import nn
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

from boxwise_export.checkpoints.base import Detections
from boxwise_export.checkpoints.torchvision import _detector
from boxwise_export.errors import ExportError

CLASSES = 6


def one_stage_layers(model: Any) -> Mapping[nn.Module, Any]:
    """The layers that give logits, deltas and centerness, and how their outputs are spread."""
    head = model.head
    if hasattr(head.classification_head, "module_list"):
        last = [
            m if isinstance(m, nn.Conv2d) else m[-1] for m in head.classification_head.module_list
        ]
        deltas = [
            m if isinstance(m, nn.Conv2d) else m[-1] for m in head.regression_head.module_list
        ]
        return dict.fromkeys(last, (0.0, 1.2)) | dict.fromkeys(deltas, (0.0, 1.5))
    layers: dict[nn.Module, Spread] = {head.classification_head.cls_logits: (-6.0, 2.0)}
    if hasattr(head.regression_head, "bbox_ctrness"):
        return layers | {
            head.regression_head.bbox_ctrness: (0.0, 1.0),
            head.regression_head.bbox_reg: (0.8, 0.4),
        }
    return layers | {head.regression_head.bbox_reg: (0.0, 0.3)}


def two_stage_layers(model: Any) -> Mapping[nn.Module, Any]:
    predictor = model.roi_heads.box_predictor
    return {
        model.rpn.head.cls_logits: (0.0, 2.0),
        model.rpn.head.bbox_pred: (0.0, 0.3),
        predictor.cls_score: (0.0, 2.0),
        predictor.bbox_pred: (0.0, 1.0),
    }


def seeded(name: str, side: int, images: list[NDArray[np.uint8]]) -> Any:
    torch.manual_seed(0)
    model = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=CLASSES
    )
    model.transform.fixed_size = (side, side)
    batch = [torch.from_numpy(each).permute(2, 0, 1) / 255 for each in images]
    layers = two_stage_layers(model) if hasattr(model, "rpn") else one_stage_layers(model)
    waken(model, lambda: model(batch), layers)
    return model


def finder(model: Any, first: int) -> Callable[..., Detections]:
    """torchvision's own model, whole: its transform, its network, its post-processing."""
    settings = model.roi_heads if hasattr(model, "rpn") else model

    def find(canvas: NDArray[np.uint8], score: float, iou: float, most: int) -> Detections:
        settings.score_thresh, settings.nms_thresh, settings.detections_per_img = score, iou, most
        with torch.no_grad():
            (found,) = model(
                [torch.from_numpy(np.ascontiguousarray(canvas)).permute(2, 0, 1) / 255]
            )
        return Detections(
            found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy() - first
        )

    return find


@pytest.mark.parametrize(
    ("name", "side", "family", "first"),
    [
        ("ssdlite320_mobilenet_v3_large", 320, "ssd", 1),
        ("ssd300_vgg16", 300, "ssd", 1),
        ("retinanet_resnet50_fpn_v2", 320, "retinanet", 0),
        ("fcos_resnet50_fpn", 320, "fcos", 0),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 320, "faster_rcnn", 1),
    ],
)
def test_detector(
    name: str,
    side: int,
    family: str,
    first: int,
    images: Any,
    planned: Any,
    assert_tensorrt_reads: Any,
    save: Any,
) -> None:
    model = seeded(name, side, images)
    labels = [f"kind {i}" for i in range(first, CLASSES)]
    detector = {
        "weights": {"source": f"torchvision:{name}", "file": save(model)},
        "labels": labels,
        "max_detections": 300,
        "canvas": {"size": side},
    }
    with planned(detector=detector) as (plan, runner):
        assert plan.detector.family == family
        assert plan.detector.max_batch_size == (1 if family == "faster_rcnn" else 8)
        assert assert_finds(plan.detector, runner, images, finder(model, first)) >= 160
        assert_tensorrt_reads(plan)


def test_classifier(images: Any, planned: Any, save: Any) -> None:
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_small(num_classes=12)
    batch = (as_batch(images, 224) - 0.45) / 0.225
    waken(model, lambda: model(batch), {model.classifier[-1]: (0.0, 2.0)})
    labels = [f"kind {i}" for i in range(12)]
    weights = {"source": "torchvision:mobilenet_v3_small", "file": save(model)}
    with planned(classifiers=[{"name": "kind", "weights": weights, "labels": labels}]) as (
        plan,
        runner,
    ):
        (classifier,) = plan.classifiers
        assert (classifier.crop.height, classifier.crop.resize_shorter) == (224, 256)
        assert classifier.normalize.mean == pytest.approx((123.675, 116.28, 103.53))
        assert_classifies(classifier, runner, images, lambda pixels: model(pixels).softmax(1))


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ("torchvision:resnet0", "torchvision .* has no such model"),
        ("torchvision:deeplabv3_resnet50", "neither a detector nor a classifier"),
        ({"source": "torchvision:resnet18", "file": "nowhere.pth"}, "no such file"),
    ],
)
def test_refusals(weights: Any, sentence: str, planned: Any) -> None:
    with (
        pytest.raises(ExportError, match=sentence),
        planned(classifiers=[{"name": "kind", "weights": weights}]),
    ):
        pass


def test_weights_of_something_else_are_refused(planned: Any, save: Any) -> None:
    file = save(torchvision.models.resnet18(weights=None, num_classes=3))
    weights = {"source": "torchvision:resnet34", "file": file}
    with (
        pytest.raises(ExportError, match=r"not the weights of torchvision:resnet34: .*Missing key"),
        planned(classifiers=[{"name": "kind", "weights": weights, "labels": ["a", "b", "c"]}]),
    ):
        pass


def test_labels_and_their_count_are_the_weights_own() -> None:
    """Fresh weights of the usual number of classes have the usual names, without the background
    that SSD has.
    """
    module = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None
    )
    names = tuple(SSDLite320_MobileNet_V3_Large_Weights.DEFAULT.meta["categories"])
    source = _detector(module.eval(), names, None, origin="", digest="", licence=None)
    assert source.labels is not None
    assert (source.labels[0], len(source.labels)) == ("person", 90)
