"""Labelled sets, recognised by what lies in the folder."""

from __future__ import annotations

from pathlib import Path

from boxwise_eval.datasets import coco, folders, voc, yolo
from boxwise_eval.datasets.base import Dataset, Picture
from boxwise_eval.errors import EvalError

__all__ = ["Dataset", "Picture", "load"]


def load(data: Path) -> Dataset:
    """Read a labelled set.

    Args:
        data: COCO json (the file, or its folder), a YOLO folder, a Pascal VOC folder, or a folder a class.

    Raises:
        EvalError: it is none of these, or a file of it is wrong.
    """
    if not data.exists():
        raise EvalError(f"{data}: no such folder")
    if (annotations := coco.find(data)) is not None:
        return coco.read(annotations)
    if data.is_dir():
        if yolo.is_one(data):
            return yolo.read(data)
        if voc.is_one(data):
            return voc.read(data)
        if folders.is_one(data):
            return folders.read(data)
    raise EvalError(
        f"{data}: not a labelled set; expected COCO json (annotations/*.json), YOLO (images/ and labels/), "
        "Pascal VOC (Annotations/ and JPEGImages/), or a folder of pictures for each class"
    )
