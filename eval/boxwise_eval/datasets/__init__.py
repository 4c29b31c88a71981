"""Labelled sets, whose format is recognised by their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from boxwise_eval.datasets import coco, data_yaml, folders, splits, voc, yolo
from boxwise_eval.datasets.base import Dataset, LabelledImage
from boxwise_eval.errors import EvalError

__all__ = ["Dataset", "LabelledImage", "load"]


def load(data: Path, split: str | None = None) -> Dataset:
    """Read a labelled set, or one split of it.

    Args:
        data: COCO JSON (the file, or its folder), a `data.yaml` or its folder, a YOLO folder, a
            Pascal VOC folder, a folder per class, or a folder with one of these per split.
        split: train, val or test; None for `val` of a `data.yaml`, and the only one of others.

    Raises:
        EvalError: it is none of these, a file is invalid, the split does not exist, or there are
            several and none was named.
    """
    split = None if split is None else splits.wanted(split)
    if not data.exists():
        raise EvalError(f"{data}: no such folder")
    if (annotations := coco.find(data, split)) is not None:
        return replace(coco.read(annotations), split=split)
    if data.is_file() and data.suffix.lower() in data_yaml.SUFFIXES:
        return yolo.read_split(data_yaml.read(data), split)
    if data.is_dir():
        if (description := data_yaml.find(data)) is not None and description.splits:
            return yolo.read_split(description, split)
        if yolo.is_one(data):
            return yolo.read(data, split)
        if voc.is_one(data):
            return voc.read(data, split)
        if parts := splits.folders(data):
            split = splits.chosen(data, parts, split)
            return replace(load(parts[split]), split=split)
        if inner := [
            each.name for each in sorted(data.iterdir()) if each.is_dir() and _is_boxed(each)
        ]:
            raise EvalError(
                f"{data}: the sets are in its folders {', '.join(inner)[:200]}: name one "
                "with --data"
            )
        if folders.is_one(data):
            if split is not None:
                raise EvalError(f"{data}: has no folder for a split: leave --split out")
            return folders.read(data)
    raise EvalError(
        f"{data}: not a labelled set; expected COCO json (annotations/*.json), YOLO (data.yaml, or "
        "images/ and labels/), Pascal VOC (Annotations/ and JPEGImages/), or a folder of images "
        "for each class"
    )


def _is_boxed(folder: Path) -> bool:
    return (
        yolo.is_one(folder)
        or voc.is_one(folder)
        or any((folder / f"data{each}").is_file() for each in data_yaml.SUFFIXES)
    )
