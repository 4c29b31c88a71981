"""timm's classifiers, exported, against timm itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from contract_support.seeded import as_batch, assert_classifies, waken
from safetensors.torch import save_file

from boxwise_export.checkpoints import read_source
from boxwise_export.errors import ExportError
from boxwise_export.pipeline import Weights


def seeded(name: str, side: int, images: Any, classes: int) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=classes)
    batch = (as_batch(images, side) - 0.45) / 0.225
    waken(model, lambda: model(batch), {model.get_classifier(): (0.0, 2.0)})
    return model


@pytest.mark.parametrize(
    ("name", "side", "shorter", "classes"),
    [
        ("mobilenetv3_small_050", 224, 256, 1000),
        ("vit_tiny_patch16_224", 224, 248, 7),
        ("resnet10t", 176, 201, 7),
    ],
)
def test_classifier(
    name: str, side: int, shorter: int, classes: int, images: Any, planned: Any, tmp_path: Path
) -> None:
    model = seeded(name, side, images, classes)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    weights = {"source": f"timm:{name}", "file": "weights.safetensors"}
    own = {} if classes == 1000 else {"labels": [f"kind {i}" for i in range(classes)]}
    with planned(classifiers=[{"name": "kind", "weights": weights, **own}]) as (plan, runner):
        (classifier,) = plan.classifiers
        assert (classifier.crop.height, classifier.crop.resize_shorter) == (side, shorter)
        assert len(classifier.labels) == classes
        if classes == 1000:
            assert classifier.labels[282].startswith("tiger cat")
        assert_classifies(classifier, runner, images, lambda pixels: model(pixels).softmax(1))


def test_pixels_are_nearly_those_of_timm(images: Any, planned: Any, save: Any) -> None:
    """Pillow smooths in its own way: a few of 255 on average, not what a wrong crop or order would
    be.
    """
    weights = {"source": "timm:resnet10t", "file": save(seeded("resnet10t", 176, images, 7))}
    source = read_source(Weights.model_validate(weights), "weights", None)
    assert source.prepare is not None
    assert source.prepare(images[0]).shape == (1, 3, 176, 176)
    config = timm.data.resolve_model_data_config(timm.create_model("resnet10t"))
    expected = timm.data.create_transform(**config, is_training=False)
    from PIL import Image

    assert np.allclose(source.prepare(images[0])[0], expected(Image.fromarray(images[0])))


def test_refusals(tmp_path: Path, save: Any) -> None:
    with pytest.raises(ExportError, match=r"timm:resnet0: timm .* has no such model"):
        read_source(Weights(source="timm:resnet0"), "weights", None)
    file = Path(save(timm.create_model("resnet10t", num_classes=3)))
    with pytest.raises(ExportError, match="not the weights of timm:resnet18"):
        read_source(Weights(source="timm:resnet18", file=file), "weights", None)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ExportError, match=r"broken\.safetensors: not a file of PyTorch weights"):
        read_source(Weights(source="timm:resnet10t", file=broken), "weights", None)
