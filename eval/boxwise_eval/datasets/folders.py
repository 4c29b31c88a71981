"""A folder a class, with images in it (torchvision's ImageFolder, ImageNet's own layout)."""

from __future__ import annotations

from pathlib import Path

from boxwise_eval.datasets.base import Dataset, image_files, labelled_image


def is_one(data: Path) -> bool:
    """Whether some folder in it holds an image."""
    return any(image_files(folder) for folder in _folders(data))


def read(data: Path) -> Dataset:
    """Read the set: each image is of the class that its folder is named after."""
    folders = [folder for folder in _folders(data) if image_files(folder)]
    images = tuple(
        labelled_image(path, [], [class_id])
        for class_id, folder in enumerate(folders)
        for path in image_files(folder)
    )
    return Dataset("image folders", tuple(folder.name for folder in folders), images, boxed=False)


def _folders(data: Path) -> list[Path]:
    return [
        folder
        for folder in sorted(data.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]
