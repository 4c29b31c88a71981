"""`boxwise demo`: what it leaves, and that nothing of it keeps running, Ctrl-C included."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from contract_support.servers import BOXWISE
from PIL import Image

PHOTOS = {
    "chelsea.png": "cat",
    "coffee.png": "cup",
    "motorcycle_left.png": "motorcycle",
    "astronaut.png": "person",
}


# Goes on from what a fixture exported.
EXPORTED = """
import shutil, sys
from boxwise_cli.entry import main
from boxwise_export import demo

exported = sys.argv[1]
demo.prepare_demo = lambda cache, out, report: shutil.copytree(exported, out)
sys.argv = ["boxwise", "demo"]
main()
"""


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command or [BOXWISE, "demo"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a terminal's foreground group, to be interrupted as one
        env=os.environ | {"COLUMNS": "120"},
    )


def running(folder: Path) -> list[str]:
    """Command lines of processes that serve from this folder."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in lines if str(folder) in line]


def test_the_demo_shows_its_images_and_leaves_nothing_running(demo: Path) -> None:
    output = (demo / "demo.log").read_text()
    for photo, found in PHOTOS.items():
        assert re.search(rf"{re.escape(photo)}.*{found}", output), output
        with Image.open(demo / "boxwise-demo" / "images" / photo) as image:
            assert image.width > 400
    assert "annotated images are in boxwise-demo/images/" in output
    assert running(demo) == []


@pytest.mark.parametrize("moment", ["exporting", "starting Triton"])
def test_ctrl_c_leaves_nothing_running(demo_repository: Path, tmp_path: Path, moment: str) -> None:
    exported = (sys.executable, "-c", EXPORTED, str(demo_repository))
    demo = start(tmp_path, *(exported if moment == "starting Triton" else ()))
    assert demo.stdout is not None
    for line in demo.stdout:
        if moment in line:
            break
    time.sleep(1)
    os.killpg(demo.pid, signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert running(tmp_path) == []
    assert not list((tmp_path / "boxwise-demo").glob(".repository.*"))
