"""A folder a class, with pictures in it (torchvision's ImageFolder, ImageNet's own layout)."""

from __future__ import annotations

from pathlib import Path

from boxwise_eval.datasets.base import Dataset, boxed_picture, picture_files


def is_one(data: Path) -> bool:
    """Whether some folder in it holds a picture."""
    return any(picture_files(folder) for folder in _folders(data))


def read(data: Path) -> Dataset:
    """Read the set: each picture is of the class that its folder is named after."""
    folders = [folder for folder in _folders(data) if picture_files(folder)]
    pictures = tuple(
        boxed_picture(path, [], [class_id]) for class_id, folder in enumerate(folders) for path in picture_files(folder)
    )
    return Dataset("image folders", tuple(folder.name for folder in folders), pictures, boxed=False)


def _folders(data: Path) -> list[Path]:
    return [folder for folder in sorted(data.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
