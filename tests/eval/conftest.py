"""Labelled sets that tests write themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

WriteImage = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path) -> WriteImage:
    """(path in the folder, width, height) -> a grey image there."""

    def write(path: str, width: int = 100, height: int = 50, orientation: int = 1) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (width, height), "grey").save(file, exif=exif)
        return file

    return write
