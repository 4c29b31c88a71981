"""A pipeline that answers constants, and images of every size for it: all that is left is the
server.
"""

from __future__ import annotations

import io
import random
from pathlib import Path

from PIL import Image

from boxwise_export.repository.serving_config import Layout
from boxwise_perf.null import OBJECTS, nullify
from contract_support.servers import write_repository

BOXES = OBJECTS
"""In each of its replies."""
LARGEST = (5000, 5000)
"""Width and height of 25 megapixels, the limit that a pipeline has where its file says nothing."""
# Of a thousand images so many have this size: the cheap ones mostly.
_MIX = {
    (1, 1): 100,
    (64, 64): 300,
    (320, 240): 400,
    (640, 480): 150,
    (1280, 720): 40,
    (1920, 1080): 8,
    (4000, 3000): 1,
    LARGEST: 1,
}


def write_dots_repository(folder: Path, layout: Layout) -> Path:
    """The pipeline `boxwise` that finds dots, its models cheap ones that work; returns the
    repository in `folder`.
    """
    return write_repository(folder, "boxwise", cores=None, layout=layout)


def write_null_repository(folder: Path, layout: Layout) -> Path:
    """The same, its models replaced by constants: each image has `BOXES` boxes, and all have
    labels.
    """
    nullify(write_dots_repository(folder, layout), folder / "null")
    return folder / "null"


def flat(width: int, height: int) -> bytes:
    """A JPEG of one colour: cheap to decode for its size."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(file, "JPEG")
    return file.getvalue()


def mixed() -> list[bytes]:
    """A thousand images of one pixel up to the limit, shuffled;
    those of one size are one object.
    """
    images = [image for size, count in _MIX.items() for image in [flat(*size)] * count]
    random.Random(0).shuffle(images)
    return images
