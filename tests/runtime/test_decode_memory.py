"""What decoding takes is bounded in every format and mode: DECODING_BYTES a pixel, the frame itself
included.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxwise_runtime.fitting import DECODING_BYTES

SIDE = 2000
_SPARE = 12 << 20  # of a heap, and of strips

# A child for each file, forked when all is loaded: its highest RSS is then that of the file alone.
_CHILD = """
import os, resource, sys
import numpy as np
from boxwise_contract.limits import ImageLimits
from boxwise_runtime.decode import decode

def rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

for name in sys.argv[1:]:
    file = np.fromfile(name, np.uint8)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        before = rss()
        decode(file, ImageLimits(max_pixels=10**9))
        os.write(write, f"{name} {rss() - before}\\n".encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    sys.stdout.write(os.read(read, 1000).decode())
"""


def files() -> dict[str, bytes]:
    color = Image.new("RGB", (SIDE, SIDE), (10, 200, 30))
    alpha = Image.new("RGBA", (SIDE, SIDE), (10, 200, 30, 128))
    turned = Image.Exif()
    turned[0x112] = 6

    def save(image: Image.Image, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    palette = color.convert("P")
    return {
        "rgb.png": save(color, "PNG"),
        "rgba.png": save(alpha, "PNG"),
        "grey-alpha.png": save(Image.new("LA", (SIDE, SIDE), (9, 100)), "PNG"),
        "palette-alpha.png": save(palette, "PNG", transparency=bytes([100] * 256)),
        "bits.png": save(Image.new("1", (SIDE, SIDE)), "PNG"),
        "16-bit.png": save(Image.fromarray(np.full((SIDE, SIDE), 40000, np.uint16)), "PNG"),
        "turned.png": save(alpha, "PNG", exif=turned),
        "rgb.jpg": save(color, "JPEG"),
        "progressive.jpg": save(color, "JPEG", progressive=True, subsampling=0),
        "cmyk-turned.jpg": save(color.convert("CMYK"), "JPEG", progressive=True, exif=turned),
        "rgb.webp": save(color, "WEBP"),
        "rgba-lossless.webp": save(alpha, "WEBP", lossless=True),
        "turned.webp": save(alpha, "WEBP", lossless=True, exif=turned),
        "animated.webp": save(
            alpha, "WEBP", lossless=True, save_all=True, append_images=[color.convert("RGBA")]
        ),
        "rgb.bmp": save(color, "BMP"),
        "rgba.bmp": save(alpha, "BMP"),
    }


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Bytes that decoding each file took at its height."""
    folder = tmp_path_factory.mktemp("files")
    for name, content in files().items():
        (folder / name).write_bytes(content)
    program = [sys.executable, "-c", _CHILD, *map(str, sorted(folder.iterdir()))]
    lines = subprocess.run(program, check=True, capture_output=True, text=True).stdout.splitlines()
    return {
        Path(name).name: int(size) for name, _, size in (line.rpartition(" ") for line in lines)
    }


def test_every_format_and_mode_keeps_to_the_bound(taken: dict[str, int]) -> None:
    assert len(taken) == 16
    bound = DECODING_BYTES * SIDE**2 + _SPARE
    assert {name: size for name, size in taken.items() if size > bound} == {}
    assert taken["rgb.jpg"] > 3 * SIDE**2  # the frame is counted
