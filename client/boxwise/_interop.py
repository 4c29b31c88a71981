"""Results in other libraries' types and back, without loss.

    Detections ─▶ to_*() ─▶ supervision, COCO, pandas, dict ─▶ from_*() ─▶ Columns ─▶ Result

Columns are the outputs of the contract, as `Result.from_arrays` takes them. Each library is
imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise._detections import Detections
from boxwise._errors import BoxwiseError, InvalidArgument
from boxwise._info import PipelineInfo

Columns = dict[str, NDArray[Any]]


def to_supervision(result: Detections) -> Any:
    """Return `supervision.Detections`."""
    supervision = _import("supervision")
    data: dict[str, Any] = {"class_name": np.array([each.class_name for each in result], dtype=str)}
    for name, ids in result.label_ids.items():
        data |= {f"{name}_ids": ids.copy(), f"{name}_scores": result.label_scores[name].copy()}
    return supervision.Detections(
        xyxy=result.xyxy.copy(),
        confidence=result.confidence.copy(),
        class_id=result.class_id.astype(np.int64),  # the type that its methods expect
        data=data,
        metadata={"image_size": result.image_size},
    )


def from_supervision(detections: Any, info: PipelineInfo) -> Columns:
    """Return the columns of what `to_supervision` returned, or of a selection of its rows."""
    if "image_size" not in detections.metadata:
        raise InvalidArgument(
            "detections: expected metadata['image_size'], as Result.to_supervision writes it"
        )
    columns = _columns(
        detections.xyxy,
        detections.confidence,
        detections.class_id,
        detections.metadata["image_size"],
    )
    for each in info.classifiers:
        for suffix, dtype in (("ids", np.int32), ("scores", np.float32)):
            name = f"{each.name}_{suffix}"
            empty = np.empty((0, each.top_k))
            columns[name] = np.asarray(detections.data.get(name, empty), dtype).reshape(
                -1, each.top_k
            )
    return columns


def to_coco(
    result: Detections, image_id: int, category_ids: Sequence[int] | None
) -> list[dict[str, Any]]:
    """Return https://cocodataset.org/#format-results, with labels as an extra key.

    Boxes are float64, so that x + width equals x2.
    """
    return [
        {
            "image_id": image_id,
            "category_id": row.class_id if category_ids is None else category_ids[row.class_id],
            "bbox": [
                row.xyxy[0],
                row.xyxy[1],
                row.xyxy[2] - row.xyxy[0],
                row.xyxy[3] - row.xyxy[1],
            ],
            "score": row.confidence,
            "labels": row.to_dict()["labels"],
        }
        for row in result
    ]


def from_coco(
    annotations: Sequence[Mapping[str, Any]],
    info: PipelineInfo,
    image_size: tuple[int, int],
    category_ids: Sequence[int] | None,
) -> Columns:
    """Return the columns of COCO results of one image."""
    classes = (
        {category: index for index, category in enumerate(category_ids)}
        if category_ids is not None
        else None
    )
    boxes = [
        (x, y, x + width, y + height)
        for x, y, width, height in (each["bbox"] for each in annotations)
    ]
    ids = [
        each["category_id"] if classes is None else classes[each["category_id"]]
        for each in annotations
    ]
    columns = _columns(boxes, [each["score"] for each in annotations], ids, image_size)
    return columns | _labels([each.get("labels", {}) for each in annotations], info)


def from_dict(document: Mapping[str, Any], info: PipelineInfo) -> Columns:
    """Return the columns of `Result.to_dict`."""
    rows = document["detections"]
    columns = _columns(
        [each["xyxy"] for each in rows],
        [each["confidence"] for each in rows],
        [each["class_id"] for each in rows],
        document["image_size"],
    )
    return columns | _labels([each["labels"] for each in rows], info)


def to_pandas(result: Detections) -> Any:
    """Return a `pandas.DataFrame`; the size of the image is in its `attrs`."""
    pandas = _import("pandas")
    columns: dict[str, Any] = {
        name: result.xyxy[:, i].copy() for i, name in enumerate(("x1", "y1", "x2", "y2"))
    }
    columns["confidence"] = result.confidence.copy()
    columns["class_id"] = result.class_id.copy()
    columns["class_name"] = [each.class_name for each in result]
    for classifier in result.info.classifiers:
        ids, scores = result.label_ids[classifier.name], result.label_scores[classifier.name]
        for rank in range(ids.shape[1]):
            suffix = f"_{rank + 1}" if rank else ""
            names = [
                classifier.label_name(each) if each >= 0 else None for each in ids[:, rank].tolist()
            ]
            columns[f"{classifier.name}_id{suffix}"] = ids[:, rank].copy()
            columns[f"{classifier.name}_label{suffix}"] = names
            columns[f"{classifier.name}_score{suffix}"] = scores[:, rank].copy()
    frame = pandas.DataFrame(columns)
    frame.attrs["image_size"] = list(result.image_size)
    return frame


def from_pandas(frame: Any, info: PipelineInfo) -> Columns:
    """Return the columns of what `to_pandas` returned, or of a selection of its rows."""
    if "image_size" not in frame.attrs:
        raise InvalidArgument("frame: expected attrs['image_size'], as Result.to_pandas writes it")
    boxes = frame[["x1", "y1", "x2", "y2"]].to_numpy()
    columns = _columns(
        boxes,
        frame["confidence"].to_numpy(),
        frame["class_id"].to_numpy(),
        frame.attrs["image_size"],
    )
    for each in info.classifiers:
        suffixes = ["", *(f"_{rank}" for rank in range(2, each.top_k + 1))]
        ids = [frame[f"{each.name}_id{suffix}"].to_numpy() for suffix in suffixes]
        scores = [frame[f"{each.name}_score{suffix}"].to_numpy() for suffix in suffixes]
        columns[f"{each.name}_ids"] = np.stack(ids, axis=1).astype(np.int32)
        columns[f"{each.name}_scores"] = np.stack(scores, axis=1).astype(np.float32)
    return columns


def _columns(boxes: Any, scores: Any, class_ids: Any, image_size: Any) -> Columns:
    return {
        "boxes": np.asarray(boxes, np.float32).reshape(-1, 4),
        "scores": np.asarray(scores, np.float32).reshape(-1),
        "class_ids": np.asarray(class_ids, np.int32).reshape(-1),
        "image_size": np.asarray(image_size, np.int32),
    }


def _labels(
    rows: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]], info: PipelineInfo
) -> Columns:
    """Return ids and scores of each classifier, padded to its top k with -1 and 0."""
    columns: Columns = {}
    for each in info.classifiers:
        ids = np.full((len(rows), each.top_k), -1, np.int32)
        scores = np.zeros((len(rows), each.top_k), np.float32)
        for i, row in enumerate(rows):
            for rank, label in enumerate(row.get(each.name, ())):
                ids[i, rank], scores[i, rank] = label["id"], label["score"]
        columns |= {f"{each.name}_ids": ids, f"{each.name}_scores": scores}
    return columns


def _import(name: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BoxwiseError(f"{name} is not installed: pip install {name}") from error
