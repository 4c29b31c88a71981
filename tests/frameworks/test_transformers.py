"""Detectors and classifiers of Hugging Face transformers, exported from folders, against
transformers itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract_support.agreement import assert_finds
from contract_support.seeded import as_batch, assert_classifies, waken
from numpy.typing import NDArray
from torch import nn
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    DFineConfig,
    DFineForObjectDetection,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

from boxwise_export.checkpoints import read_source
from boxwise_export.checkpoints.base import Detections
from boxwise_export.errors import ExportError
from boxwise_export.pipeline import Weights

SIDE = 256
NAMES = {i: f"kind {i}" for i in range(6)}
LABELS = {"id2label": NAMES, "label2id": {name: i for i, name in NAMES.items()}}
SQUARE = {"height": SIDE, "width": SIDE}


def small_detr() -> tuple[Any, Any]:
    backbone = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1], layer_type="basic"
    )
    config = DetrConfig(
        backbone_config=backbone,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        num_queries=60,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        **LABELS,
    )
    return DetrForObjectDetection(config), DetrImageProcessor(size=SQUARE, do_pad=False)


def small_rt_detr() -> tuple[Any, Any]:
    config = RTDetrConfig(
        d_model=32,
        encoder_hidden_dim=32,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=60,
        decoder_layers=2,
        decoder_attention_heads=2,
        encoder_attention_heads=2,
        decoder_in_channels=[32, 32, 32],
        encoder_in_channels=[32, 64, 128],
        backbone_config={
            "model_type": "rt_detr_resnet",
            "embedding_size": 16,
            "hidden_sizes": [16, 32, 64, 128],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_features": ["stage2", "stage3", "stage4"],
        },
        **LABELS,
    )
    return RTDetrForObjectDetection(config), RTDetrImageProcessor(size=SQUARE)


def small_d_fine() -> tuple[Any, Any]:
    config = DFineConfig(
        d_model=32,
        encoder_hidden_dim=32,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=60,
        decoder_layers=2,
        decoder_attention_heads=2,
        encoder_attention_heads=2,
        decoder_n_points=[4, 4, 4],
        decoder_in_channels=[32, 32, 32],
        encoder_in_channels=[64, 128, 256],
        backbone_config={
            "model_type": "hgnet_v2",
            "stage_in_channels": [16, 32, 64, 128],
            "stage_mid_channels": [16, 16, 32, 32],
            "stage_out_channels": [32, 64, 128, 256],
            "stage_num_blocks": [1, 1, 1, 1],
            "stage_numb_of_layers": [1, 1, 1, 1],
            "hidden_sizes": [32, 64, 128, 256],
            "stem_channels": [3, 16, 16],
            "out_features": ["stage2", "stage3", "stage4"],
        },
        **LABELS,
    )
    return DFineForObjectDetection(config), RTDetrImageProcessor(size=SQUARE)


def small_yolos() -> tuple[Any, Any]:
    config = YolosConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        image_size=[SIDE, SIDE],
        num_detection_tokens=60,
        **LABELS,
    )
    model = YolosForObjectDetection(config)
    nn.init.normal_(model.vit.embeddings.detection_tokens)  # fresh, they are all zero and so one
    return model, YolosImageProcessor(size=SQUARE, do_pad=False)


def last_layers(model: Any) -> Mapping[nn.Module, Any]:
    """Of a softmax with "no object" last, or of sigmoids;
    and of the boxes, spread over the canvas.
    """
    around = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.out_features == len(NAMES) + 1:
            around[module] = (0.0, 1.5)
        elif (
            isinstance(module, nn.Linear) and module.out_features == len(NAMES) and "class" in name
        ):
            around[module] = (-1.0, 1.2)
        elif (
            isinstance(module, nn.Linear)
            and module.out_features == 4
            and name.startswith("bbox_predictor")
        ):
            around[module] = [(0.0, 1.0)] * 2 + [(-1.0, 0.5)] * 2
    return around


def saved(make: Callable[[], tuple[Any, Any]], images: Any, folder: Path) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model, processor = make()
    batch = (as_batch(images, SIDE) - 0.45) / 0.225
    waken(model, lambda: model(pixel_values=batch), last_layers(model))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def finder(model: Any, processor: Any) -> Callable[..., Detections]:
    """The model and the processor, as the documentation of transformers runs them."""

    def find(canvas: NDArray[np.uint8], score: float, iou: float, most: int) -> Detections:
        inputs = processor(images=np.ascontiguousarray(canvas), return_tensors="pt")
        with torch.no_grad():
            outputs = model(pixel_values=inputs["pixel_values"])
        size = [canvas.shape[:2]]
        (found,) = processor.post_process_object_detection(
            outputs, threshold=score, target_sizes=size
        )
        best = torch.argsort(found["scores"], descending=True)[:most]
        return Detections(*(found[name][best].numpy() for name in ("boxes", "scores", "labels")))

    return find


@pytest.mark.parametrize("make", [small_detr, small_rt_detr, small_d_fine, small_yolos])
def test_detector(
    make: Any, images: Any, planned: Any, assert_tensorrt_reads: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    model, processor = saved(make, images, folder)
    with planned(detector={"weights": "model", "max_detections": 300}) as (plan, runner):
        detector = plan.detector
        assert (detector.family, detector.reading.nms) == ("detr", False)
        assert detector.labels == tuple(NAMES.values())
        assert (detector.canvas.height, detector.canvas.resize) == (SIDE, "stretch")
        assert assert_finds(detector, runner, images, finder(model, processor)) >= 160
        assert_tensorrt_reads(plan)


def small_vit() -> tuple[Any, Any]:
    config = ViTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        image_size=64,
        **LABELS,
    )
    return ViTForImageClassification(config), ViTImageProcessor(size={"height": 64, "width": 64})


def test_classifier(images: Any, planned: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    torch.manual_seed(0)
    model, processor = small_vit()
    batch = as_batch(images, 64) * 2 - 1
    waken(model, lambda: model(pixel_values=batch), {model.classifier: (0.0, 2.0)})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    with planned(classifiers=[{"name": "kind", "weights": "model"}]) as (plan, runner):
        (classifier,) = plan.classifiers
        assert classifier.labels == tuple(NAMES.values())
        assert classifier.normalize.mean == pytest.approx((127.5,) * 3)
        assert classifier.source.licence == "mit"
        assert_classifies(
            classifier, runner, images, lambda pixels: model(pixel_values=pixels).logits.softmax(1)
        )


def test_refusals(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ExportError, match=r"has no config\.json"):
        read_source(Weights(file=empty), "weights", None)
    torch.manual_seed(0)
    model, processor = small_vit()
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    with pytest.raises(ExportError, match="does not say the size"):
        read_source(Weights(file=folder), "weights", None)
    processor.save_pretrained(folder)
    (weights,) = folder.glob("*.safetensors")
    weights.unlink()
    with pytest.raises(ExportError, match="transformers cannot read it"):
        read_source(Weights(file=folder), "weights", None)
    from safetensors.torch import save_file

    save_file(
        {name: value for name, value in model.state_dict().items() if "classifier" not in name},
        weights,
    )
    with pytest.raises(ExportError, match=r"missing keys classifier\.bias"):
        read_source(Weights(file=folder), "weights", None)
