"""torchvision: its detectors and classifiers,
by the names of `torchvision.models.list_models()`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_export.checkpoints.base import (
    Detect,
    Detections,
    Floats,
    Preprocessing,
    Selection,
    Source,
    from_unit,
)
from boxwise_export.checkpoints.torch_module import (
    ANTIALIASED,
    adapted,
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

_DETECTORS = "torchvision.models.detection"
# What the heads of the one-stage detectors give, and the family that reads it.
_HEADS = {
    "SSD": ("ssd", ("bbox_regression", "cls_logits")),
    "RetinaNet": ("retinanet", ("bbox_regression", "cls_logits")),
    "FCOS": ("fcos", ("bbox_regression", "bbox_ctrness", "cls_logits")),
}
_FINISHED = ("boxes", "labels", "scores")


def read_torchvision(name: str, file: Path | None, size: tuple[int, int] | None) -> Source:
    """Build a model of torchvision with weights from a file, or with the best that torchvision has
    for it.

    Detectors are cut before their NMS, so that thresholds stay those of the request. One-stage
    detectors take any batch; Faster R-CNN (and the boxes of Mask and Keypoint R-CNN) takes one
    image at a time.

    Args:
        name: as "ssdlite320_mobilenet_v3_large" or "resnet18".
        file: a state dict of it, with any number of classes.
        size: height and width to trace it with; None for the model's own.

    Raises:
        SourceError: torchvision is missing, does not know the name, or the weights cannot be had or
            are of another.
    """
    try:
        import torchvision
    except ImportError as error:
        raise needs("torchvision", "torchvision", f"torchvision:{name}") from error

    try:
        builder = torchvision.models.get_model_builder(name)
    except ValueError as error:
        raise SourceError(
            f"torchvision:{name}: torchvision {torchvision.__version__} has no such model; "
            "`torchvision.models.list_models()` lists them"
        ) from error
    known = torchvision.models.get_model_weights(name).DEFAULT
    detects = builder.__module__.startswith(_DETECTORS)
    if not detects and type(known.transforms()).__name__ != "ImageClassification":
        raise SourceError(f"torchvision:{name}: neither a detector nor a classifier of images")
    module = _with_weights(name, file, known, detects)
    origin = f"torchvision {torchvision.__version__} {name}"
    licence = known.meta.get("license") if file is None else None
    names = tuple(known.meta["categories"])
    if detects:
        return _detector(
            module, names, size, origin=origin, digest=weights_digest(file, module), licence=licence
        )
    return _classifier(
        module, known, size, origin=origin, digest=weights_digest(file, module), licence=licence
    )


def _with_weights(name: str, file: Path | None, known: Any, detects: bool) -> Any:
    import torchvision

    if file is None:
        try:
            return torchvision.models.get_model(name, weights=known).eval()
        except OSError as error:
            raise not_downloaded(f"torchvision:{name}", error, "weights.pth") from error
    options: dict[str, Any] = {"weights": None, **({"weights_backbone": None} if detects else {})}
    state = dict(read_state(file))
    module = torchvision.models.get_model(name, **options)
    usual = len(known.meta["categories"])
    classes = classes_in(state, module, usual)
    if classes != usual:
        module = torchvision.models.get_model(name, **options, num_classes=classes)
    # Trained with frozen batch norms, a state has no counts of batches; nothing reads them in
    # inference.
    for key, value in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, value)
    return load_strictly(module, state, file, f"torchvision:{name}")


def _detector(
    module: Any,
    names: tuple[str, ...],
    size: tuple[int, int] | None,
    *,
    origin: str,
    digest: str,
    licence: str | None,
) -> Source:
    preprocessing = _canvas_of(module.transform)
    height, width = size or preprocessing.size or (0, 0)
    kind = type(module).__name__
    if kind in _HEADS:
        family, outputs = _HEADS[kind]
        anchors, levels = _anchors(module, height, width)
        forward, detect = _heads(module, outputs), _one_stage_detect(module, anchors, levels)
    elif hasattr(module, "rpn"):
        family, outputs, anchors = "faster_rcnn", _FINISHED, None
        forward, detect = _proposals(module, height, width), _two_stage_detect
    else:
        raise SourceError(
            f"{origin}: a {kind} is not known; expected {', '.join(_HEADS)} or an R-CNN"
        )
    network = adapted(module, forward)
    names = names if family in ("retinanet", "fcos") else names[1:]  # the others give no background
    return Source(
        trace(network, outputs, height, width, batched=family != "faster_rcnn"),
        torch_run(network, outputs),
        origin,
        digest,
        licence=licence,
        family=family,
        labels=names if len(names) == _class_count(module, family) else None,
        preprocessing=preprocessing,
        anchors=anchors,
        activation="softmax" if family == "ssd" else None if family == "faster_rcnn" else "sigmoid",
        background="none" if family in ("retinanet", "fcos") else "first",
        prepare=_prepare(module)
        if preprocessing.size == (height, width) and module.transform.fixed_size
        else None,
        detect=detect,
    )


def _canvas_of(transform: Any) -> Preprocessing:
    """What `GeneralizedRCNNTransform` does, as far as a canvas of one size can do it."""
    normalize = from_unit(transform.image_mean, transform.image_std)
    if transform.fixed_size:
        width, height = transform.fixed_size
        return Preprocessing(
            (height, width),
            "stretch",
            interpolation="linear",
            color_order="rgb",
            normalize=normalize,
        )
    divisor = transform.size_divisible
    longer = math.ceil(transform.max_size / divisor) * divisor
    shorter = math.ceil(transform.min_size[-1] / divisor) * divisor
    return Preprocessing(
        (shorter, longer),
        "letterbox_top_left",
        pad_value=round(255 * sum(transform.image_mean) / 3),  # 0 after the normalisation
        interpolation="linear",
        color_order="rgb",
        normalize=normalize,
    )


def _prepare(module: Any) -> Callable[[NDArray[np.uint8]], Floats]:
    import torch

    def prepare(frame: NDArray[np.uint8]) -> Floats:
        image = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).float() / 255
        images, _ = module.transform([image])
        return np.asarray(images.tensors, np.float32)

    return prepare


def _features(module: Any, images: Any) -> list[Any]:
    features = module.backbone(images)
    return list(features.values()) if isinstance(features, dict) else [features]


def _anchors(module: Any, height: int, width: int) -> tuple[Floats, list[int]]:
    """The anchors of a canvas, and how many each level has."""
    import torch
    from torchvision.models.detection.image_list import ImageList

    images = torch.zeros(1, 3, height, width)
    with torch.no_grad():
        features = _features(module, images)
        (anchors,) = module.anchor_generator(ImageList(images, [(height, width)]), features)
    cells = [each.shape[-2] * each.shape[-1] for each in features]
    per_cell = len(anchors) // sum(cells)
    return np.asarray(anchors, np.float32), [per_cell * count for count in cells]


def _heads(module: Any, outputs: tuple[str, ...]) -> Callable[[Any], Any]:
    def forward(images: Any) -> Any:
        given = module.head(_features(module, images))
        return tuple(given[name] for name in outputs)

    return forward


def _one_stage_detect(module: Any, anchors: Floats, levels: list[int]) -> Detect:
    """Torchvision's own `postprocess_detections`."""
    import torch

    first = 1 if type(module).__name__ == "SSD" else 0

    def detect(
        outputs: Mapping[str, Floats], size: tuple[int, int], selection: Selection
    ) -> Detections:
        module.score_thresh, module.nms_thresh = selection.score, selection.iou
        module.detections_per_img = selection.most
        heads: dict[str, Any] = {name: torch.from_numpy(values) for name, values in outputs.items()}
        placed: Any = torch.from_numpy(anchors)
        if first == 0:  # SSD takes the best of each class, the others of each level
            heads = {name: list(values.split(levels, dim=1)) for name, values in heads.items()}
            placed = list(placed.split(levels))
        (found,) = module.postprocess_detections(heads, [placed], [size])
        return Detections(
            found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy() - first
        )

    return detect


def _proposals(module: Any, height: int, width: int) -> Callable[[Any], Any]:
    """`GeneralizedRCNN.forward` as far as the NMS of its last stage: a box for each proposal and
    class.
    """
    import torch
    from torchvision.models.detection.image_list import ImageList
    from torchvision.ops import clip_boxes_to_image

    size, roi = (height, width), module.roi_heads

    def forward(images: Any) -> Any:
        features = module.backbone(images)
        proposals, _ = module.rpn(ImageList(images, [size]), features)
        logits, deltas = roi.box_predictor(
            roi.box_head(roi.box_roi_pool(features, proposals, [size]))
        )
        # Of an image without proposals too: with the number of classes said, a reshape of nothing
        # is known.
        boxes = roi.box_coder.decode_single(deltas, proposals[0]).reshape(-1, logits.shape[-1], 4)
        boxes = clip_boxes_to_image(boxes, size)[:, 1:]
        scores = torch.softmax(logits, -1)[:, 1:]
        labels = torch.arange(1, logits.shape[-1]).expand_as(scores)
        return boxes.reshape(-1, 4), labels.reshape(-1), scores.reshape(-1)

    return forward


def _two_stage_detect(
    outputs: Mapping[str, Floats], _: tuple[int, int], selection: Selection
) -> Detections:
    """The end of torchvision's `RoIHeads.postprocess_detections`."""
    import torch
    from torchvision.ops import batched_nms, remove_small_boxes

    boxes, labels, scores = (torch.from_numpy(outputs[name]) for name in _FINISHED)
    kept = torch.where(scores > selection.score)[0]
    kept = kept[remove_small_boxes(boxes[kept], min_size=1e-2)]
    kept = kept[batched_nms(boxes[kept], scores[kept], labels[kept], selection.iou)][
        : selection.most
    ]
    return Detections(
        boxes[kept].numpy(), scores[kept].numpy(), labels[kept].numpy().astype(np.int64) - 1
    )


def _class_count(module: Any, family: str) -> int:
    """Without the background where the family gives none."""
    if family == "faster_rcnn":
        return int(module.roi_heads.box_predictor.cls_score.out_features) - 1
    if family == "ssd":
        return int(module.head.classification_head.num_columns) - 1
    return int(module.head.classification_head.num_classes)


def _classifier(
    module: Any,
    known: Any,
    size: tuple[int, int] | None,
    *,
    origin: str,
    digest: str,
    licence: str | None,
) -> Source:
    from PIL import Image

    transforms = known.transforms()
    (side,) = set(transforms.crop_size)
    height, width = size or (side, side)
    model = trace(module, ("logits",), height, width)
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    names = tuple(known.meta["categories"])

    def prepare(frame: NDArray[np.uint8]) -> Floats:
        return np.asarray(transforms(Image.fromarray(frame))[None], np.float32)

    return Source(
        model,
        torch_run(module, ("logits",)),
        origin,
        digest,
        licence=licence,
        labels=names if len(names) == classes else None,
        preprocessing=Preprocessing(
            (side, side),
            resize_shorter=transforms.resize_size[0],
            interpolation=ANTIALIASED[transforms.interpolation.value],
            color_order="rgb",
            normalize=from_unit(transforms.mean, transforms.std),
        ),
        prepare=prepare if (height, width) == (side, side) else None,
    )
