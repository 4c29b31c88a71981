"""ultralytics: YOLO detectors and classifiers, from a checkpoint (`.pt`) or from a model file and a
state dict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_export.checkpoints.base import (
    Detections,
    Floats,
    Metadata,
    Preprocessing,
    Selection,
    Source,
)
from boxwise_export.checkpoints.torch_module import (
    adapted,
    load_strictly,
    needs,
    one_line,
    read_state,
    torch_run,
    trace,
    weights_digest,
)
from boxwise_export.errors import SourceError
from boxwise_export.pipeline import Normalize

_LICENCE = (
    "AGPL-3.0 (ultralytics): who offers a service with these weights over a network must offer its "
    "source under the same licence, or have a licence from Ultralytics"
)
_UNIT = Normalize(std=(255.0, 255.0, 255.0))
# Of segmentation and pose models the boxes are served.
_USUAL_SIDE = {"detect": 640, "segment": 640, "pose": 640, "classify": 224}
# The last layers, whose rows are the classes: of a detector's heads, of a classifier.
_LAST_LAYER = re.compile(r"\.(cv3\.0\.2|linear)\.weight$")


def read_ultralytics(
    name: str | None, file: Path | None, size: tuple[int, int] | None, *, trust_pickle: bool
) -> Source:
    """Read a YOLO model.

    Args:
        name: a model file that ultralytics knows, as "yolo11n.yaml", whose weights are in `file` (a
            state dict), or random where there is none; a checkpoint to download, as "yolo11n.pt";
            or None, where `file` is one.
        file: see there.
        size: height and width to trace it with; None for the size that it was trained with.
        trust_pickle: a checkpoint of ultralytics is a pickle, which can run code when it is read:
            whether it may.

    Raises:
        SourceError: ultralytics is missing or does not know the name, the weights are of another
            model, or the checkpoint is not trusted.
    """
    title = f"ultralytics:{name}" if name else str(file)
    try:
        import ultralytics
    except ImportError as error:
        raise needs("ultralytics", "ultralytics", title) from error

    described = name is not None and name.endswith((".yaml", ".yml"))
    if not described and not trust_pickle:
        raise SourceError(
            f"{title}: a checkpoint of ultralytics is a pickle, which can run code when it is "
            "read; say `trust_pickle: true` beside it if you trust where it comes from, or export "
            "it to ONNX where you trained it"
        )
    yolo = _described(str(name), file) if described else _opened(str(file or name))
    if yolo.task not in _USUAL_SIDE:
        raise SourceError(
            f"{title}: a model for the task {yolo.task!r}, which is not served; expected "
            f"{', '.join(_USUAL_SIDE)}"
        )
    module = yolo.model.float().eval()
    side = _trained_side(yolo)
    height, width = size or (side, side)
    origin = f"ultralytics {ultralytics.__version__} {name or 'checkpoint'}"
    if described and file is None:
        origin += " (untrained: random weights)"
    digest = weights_digest(file, module)
    labels = tuple(str(module.names[index]) for index in range(len(module.names)))
    make = _classifier if yolo.task == "classify" else _detector
    known = Metadata(task=yolo.task)
    return make(
        module,
        (height, width),
        side,
        origin=origin,
        digest=digest,
        labels=labels,
        licence=_LICENCE,
        metadata=known,
    )


def _described(name: str, file: Path | None) -> Any:
    """A model from its description, with the weights of a state dict or with random ones, the same
    each time.
    """
    import torch

    state = None if file is None else read_state(file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yolo = _opened(name)
        if state is not None and file is not None:
            classes = next(
                (len(tensor) for key, tensor in state.items() if _LAST_LAYER.search(key)), None
            )
            if classes not in (None, yolo.model.yaml["nc"]):
                yolo.model = type(yolo.model)(yolo.model.yaml, nc=classes, verbose=False)
            load_strictly(yolo.model, state, file, f"ultralytics:{name}")
    return yolo


def _opened(path: str) -> Any:
    from ultralytics import YOLO

    try:
        return YOLO(path)
    except Exception as error:  # whatever is in the file, and whatever a download raises
        raise SourceError(f"{path}: ultralytics cannot read it ({one_line(error)})") from error


def _trained_side(yolo: Any) -> int:
    """What a checkpoint says that it was trained with;
    a model that is only described has not been.
    """
    trained = (yolo.ckpt or {}).get("train_args") or {}
    return int(trained.get("imgsz") or _USUAL_SIDE[yolo.task])


def _detector(module: Any, size: tuple[int, int], side: int, **known: Any) -> Source:
    import torch
    from ultralytics.utils.nms import non_max_suppression

    head = module.model[-1]
    # YOLOv10 and YOLO26 have two heads, the second of which needs no NMS: it is what they are taken
    # for.
    end_to_end = getattr(head, "one2one_cv2", None) is not None
    if end_to_end:
        head.end2end = True
    module.fuse(verbose=False)
    head.export, head.format, head.dynamic = True, "onnx", False
    # The prototypes of masks.
    outputs = ("output0", "output1") if known["metadata"].task == "segment" else ("output0",)
    classes = len(known["labels"])

    def detect(
        outputs: Mapping[str, Floats], _: tuple[int, int], selection: Selection
    ) -> Detections:
        (found,) = non_max_suppression(
            torch.from_numpy(np.array(outputs["output0"])),
            conf_thres=selection.score,
            iou_thres=selection.iou,
            multi_label=selection.multi_label,
            agnostic=selection.class_agnostic,
            max_det=selection.most,
            nc=classes,
            end2end=end_to_end,
        )
        rows = found.numpy()
        return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))

    return Source(
        trace(module, outputs, *size),
        torch_run(module, outputs),
        family="yolov10" if end_to_end else "yolov8",
        preprocessing=Preprocessing((side, side), "letterbox", None, 114, "linear", "rgb", _UNIT),
        prepare=lambda frame: _letterbox(frame, size),
        detect=detect,
        selects=True,
        **known,
    )


def _letterbox(frame: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
    from ultralytics.data.augment import LetterBox

    canvas = LetterBox(size, auto=False)(image=frame)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32) / 255


def _classifier(module: Any, size: tuple[int, int], side: int, **known: Any) -> Source:
    from PIL import Image
    from ultralytics.data.augment import classify_transforms

    transform = classify_transforms(size[0])
    # Its logits; the first are after the softmax.
    network = adapted(module, lambda images: module(images)[1])
    return Source(
        trace(network, ("logits",), *size),
        torch_run(network, ("logits",)),
        preprocessing=Preprocessing(
            (side, side),
            resize_shorter=side,
            interpolation="area",
            color_order="rgb",
            normalize=_UNIT,
        ),
        prepare=lambda frame: np.asarray(transform(Image.fromarray(frame))[None], np.float32),
        **known,
    )
