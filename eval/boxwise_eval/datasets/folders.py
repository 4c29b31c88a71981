"""One folder of images per class (torchvision's ImageFolder, ImageNet's layout)."""

from __future__ import annotations

from pathlib import Path

from boxwise_eval.datasets.base import Dataset, image_files, labelled_image


def is_one(data: Path) -> bool:
    """Return whether a folder in it holds an image."""
    return any(image_files(folder) for folder in _folders(data))


def read(data: Path) -> Dataset:
    """Read the set; the class of an image is the name of its folder."""
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
