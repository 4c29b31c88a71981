"""timm: its image classifiers, by the names of `timm.list_models()`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_export.checkpoints.base import Floats, Preprocessing, Source, from_unit
from boxwise_export.checkpoints.torch_module import (
    ANTIALIASED,
    classes_in,
    load_strictly,
    needs,
    not_downloaded,
    read_state,
    torch_run,
    trace,
    weights_digest,
)
from boxwise_export.errors import SourceError

_OUTPUTS = ("logits",)


def read_timm(name: str, file: Path | None, size: tuple[int, int] | None) -> Source:
    """Build a model of timm with weights from a file, or with those that timm knows for it.

    Args:
        name: as "resnet18" or "vit_tiny_patch16_224.augreg_in21k_ft_in1k".
        file: a state dict of it (.pth, .safetensors), with any number of classes.
        size: height and width to trace it with; None for the model's own.

    Raises:
        SourceError: timm is missing, does not know the name, or the weights cannot be had or are of
            another.
    """
    try:
        import timm
    except ImportError as error:
        raise needs("timm", "timm", f"timm:{name}") from error

    if not timm.is_model(name):
        raise SourceError(
            f"timm:{name}: timm {timm.__version__} has no such model; `timm.list_models()` "
            "lists them"
        )
    module = _with_weights(name, file)
    config = timm.data.resolve_model_data_config(module)
    side = tuple(config["input_size"][1:])
    height, width = size or side
    return Source(
        trace(module, _OUTPUTS, height, width),
        torch_run(module, _OUTPUTS),
        f"timm {timm.__version__} {name}",
        weights_digest(file, module),
        licence=module.pretrained_cfg.get("license") if file is None else None,
        labels=_labels(module),
        preprocessing=_preprocessing(config),
        prepare=_prepare(config) if (height, width) == side else None,
    )


def _with_weights(name: str, file: Path | None) -> Any:
    import timm

    if file is None:
        try:
            return timm.create_model(name, pretrained=True).eval()
        except Exception as error:  # whatever its hub raises
            raise not_downloaded(f"timm:{name}", error, "weights.safetensors") from error
    state = read_state(file)
    module = timm.create_model(name, pretrained=False)
    classes = classes_in(state, module, module.num_classes)
    if classes != module.num_classes:
        module = timm.create_model(name, pretrained=False, num_classes=classes)
    return load_strictly(module, state, file, f"timm:{name}")


def _labels(module: Any) -> tuple[str, ...] | None:
    """The model's own, or those of the ImageNet that it was trained on, where it still has as many
    classes.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    config = module.pretrained_cfg
    own = config.get("label_names")
    if own and len(own) == module.num_classes:
        return tuple(own)
    subset = (
        infer_imagenet_subset(module) if config.get("num_classes") == module.num_classes else None
    )
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(module.num_classes))


def _preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """`timm.data.create_transform`: the shorter side to size / crop_pct, then the centre; or
    squashed to the size.
    """
    size = tuple(config["input_size"][1:])
    centred = config["crop_mode"] == "center"
    return Preprocessing(
        size,
        resize_shorter=math.floor(min(size) / config["crop_pct"])
        if centred and size[0] == size[1]
        else None,
        interpolation=ANTIALIASED.get(config["interpolation"], "area"),
        color_order="rgb",
        normalize=from_unit(config["mean"], config["std"]),
    )


def _prepare(config: Mapping[str, Any]) -> Any:
    from PIL import Image
    from timm.data import create_transform

    transform = create_transform(**config, is_training=False)

    def prepare(frame: NDArray[np.uint8]) -> Floats:
        return np.asarray(transform(Image.fromarray(frame))[None], np.float32)

    return prepare
