"""Hugging Face transformers: folders on disk of object detectors and image classifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from boxwise_export.checkpoints.base import (
    Detect,
    Detections,
    Floats,
    Preprocessing,
    Selection,
    Source,
    file_digest,
    from_unit,
)
from boxwise_export.checkpoints.torch_module import (
    ANTIALIASED,
    adapted,
    needs,
    one_line,
    torch_run,
    trace,
)
from boxwise_export.errors import SourceError

_DETECTOR_OUTPUTS = ("logits", "pred_boxes")


def read_transformers(folder: Path, size: tuple[int, int] | None) -> Source:
    """Read a folder as `save_pretrained` writes it; nothing is downloaded, and no code of the
    folder is run.

    Args:
        folder: with config.json, the weights, and preprocessor_config.json.
        size: height and width to trace it with; None for what the preprocessor says.

    Raises:
        SourceError: transformers is missing, the folder is not of such a model, or the weights are
            not all its own.
    """
    try:
        import transformers
    except ImportError as error:
        raise needs("transformers", "transformers", str(folder)) from error

    module, detects = _read(folder)
    processor = _processor(folder)
    preprocessing = _preprocessing(processor, detects)
    if size is None and preprocessing.size is None:
        raise SourceError(
            f"{folder}: its preprocessor_config.json does not say the size of an image; say "
            "it yourself"
        )
    height, width = size or preprocessing.size or (0, 0)
    outputs = _DETECTOR_OUTPUTS if detects else ("logits",)

    def forward(images: Any) -> Any:
        given = module(pixel_values=images)
        return tuple(given[name] for name in outputs)

    network = adapted(module, forward)
    names = module.config.id2label
    run = torch_run(network, outputs)
    source = Source(
        trace(network, outputs, height, width),
        run,
        f"transformers {transformers.__version__} {type(module).__name__}",
        file_digest(folder),
        licence=_licence(folder),
        labels=tuple(str(names[index]) for index in range(len(names))),
        preprocessing=preprocessing,
    )
    if processor is not None and (height, width) == preprocessing.size:
        source = replace(source, prepare=_prepare(processor))
    if not detects:
        return source
    columns = run(np.zeros((1, 3, height, width), np.float32))["logits"].shape[-1]
    # DETR's head has one column more than the configuration has names; its successors' columns have
    # a sigmoid each.
    exclusive = columns == len(names) + 1
    return replace(
        source,
        family="detr",
        activation="softmax" if exclusive else "sigmoid",
        background="last" if exclusive else "none",
        detect=None if processor is None else _detect(processor),
    )


def _read(folder: Path) -> tuple[Any, bool]:
    """The model with all its weights, and whether it is a detector."""
    if not (folder / "config.json").is_file():
        raise SourceError(
            f"{folder}: has no config.json; expected a folder as `save_pretrained` of "
            "transformers does"
        )
    from transformers import (
        AutoConfig,
        AutoModelForImageClassification,
        AutoModelForObjectDetection,
    )

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        made = str((config.architectures or [""])[0])
        detects = made.endswith("ForObjectDetection")
        if not detects and not made.endswith("ForImageClassification"):
            raise SourceError(
                f"{folder}: config.json says {made or 'no architecture'}; expected one that ends "
                "in ForObjectDetection or ForImageClassification"
            )
        factory = AutoModelForObjectDetection if detects else AutoModelForImageClassification
        module, found = factory.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            output_loading_info=True,
            attn_implementation="eager",
        )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        raise SourceError(f"{folder}: transformers cannot read it ({one_line(error)})") from error
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if names := sorted(map(str, found.get(what, ()))):
            raise SourceError(
                f"{folder}: not the weights of {made}: {what.replace('_', ' ')} "
                f"{', '.join(names[:3])}"
            )
    return module.eval(), detects


def _processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    if not (folder / "preprocessor_config.json").is_file():
        return None
    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise SourceError(
            f"{folder}: preprocessor_config.json cannot be read ({one_line(error)})"
        ) from error


def _preprocessing(processor: Any, detects: bool) -> Preprocessing:
    """What `preprocessor_config.json` says, as far as a canvas of one size can do it."""
    if processor is None:
        return Preprocessing()
    size, crop = _sides(processor.size), _sides(getattr(processor, "crop_size", None))
    cropped = bool(getattr(processor, "do_center_crop", False)) and crop is not None
    shorter = (processor.size or {}).get("shortest_edge")
    scale = 255 * float(getattr(processor, "rescale_factor", None) or 1 / 255)
    normalized = bool(getattr(processor, "do_normalize", False))
    mean = processor.image_mean if normalized else (0.0, 0.0, 0.0)
    std = processor.image_std if normalized else (1.0, 1.0, 1.0)
    resample = getattr(processor, "resample", None)
    name = "bilinear" if resample is None else _PILLOW[int(resample)]
    return Preprocessing(
        size=crop if cropped else size,
        resize=("stretch" if size else "letterbox_top_left") if detects else None,
        resize_shorter=shorter if cropped else None,
        interpolation=ANTIALIASED[name],
        color_order="rgb",
        normalize=from_unit([value / scale for value in mean], [value / scale for value in std]),
    )


# `PIL.Image.Resampling`, whose numbers the files hold.
_PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")


def _sides(size: Any) -> tuple[int, int] | None:
    """Height and width; None where only one edge is said."""
    size = dict(size or {})
    return (
        (int(size["height"]), int(size["width"]))
        if {"height", "width"} <= {k for k, v in size.items() if v}
        else None
    )


def _prepare(processor: Any) -> Callable[[NDArray[np.uint8]], Floats]:
    def prepare(frame: NDArray[np.uint8]) -> Floats:
        return np.asarray(processor(images=frame, return_tensors="pt")["pixel_values"], np.float32)

    return prepare


def _detect(processor: Any) -> Detect:
    import torch

    def detect(
        outputs: Mapping[str, Floats], size: tuple[int, int], selection: Selection
    ) -> Detections:
        given = SimpleNamespace(
            **{name: torch.from_numpy(values) for name, values in outputs.items()}
        )
        (found,) = processor.post_process_object_detection(
            given, threshold=selection.score, target_sizes=[size]
        )
        best = torch.argsort(found["scores"], descending=True)[: selection.most]
        return Detections(*(found[name][best].numpy() for name in ("boxes", "scores", "labels")))

    return detect


def _licence(folder: Path) -> str | None:
    """What the model card says, in the block before its text."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    _, _, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
    try:
        said = yaml.safe_load(rest.partition("\n---")[0])
    except yaml.YAMLError:
        return None
    return str(said["license"]) if isinstance(said, dict) and said.get("license") else None
