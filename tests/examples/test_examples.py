"""The examples do what they say, as their readers would run them."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fastapi.testclient import TestClient
from PIL import Image

import boxwise
from boxwise import Overloaded
from boxwise.testing import FakeServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.find("cup", (10, 20, 40, 60), 0.75)
        monkeypatch.setenv("BOXWISE_URL", server.url)
        yield server


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (96, 64), "white").save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image, and not taken for one")
    return folder


def run(
    example: str, *arguments: object, folder: Path = EXAMPLES
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / example), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=dict(os.environ), cwd=folder, timeout=60
    )


def load(example: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(example).stem, EXAMPLES / example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_batch(server: FakeServer, photos: Path, tmp_path: Path) -> None:
    done = run("batch.py", photos, tmp_path / "found.jsonl")
    assert done.returncode == 1
    assert "broken.jpg: image: not a JPEG" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["a.png", "b.jpg"]
    assert lines[0]["detections"][0]["class_name"] == "cup"


def test_at_once(server: FakeServer, photos: Path) -> None:
    done = run("at_once.py", photos / "a.png", photos / "broken.jpg")
    assert done.returncode == 0, done.stderr
    assert f"{photos / 'a.png'}: cup\n" in done.stdout
    assert "broken.jpg: image: not a JPEG" in done.stdout


def test_plain_grpc(server: FakeServer, photos: Path, tmp_path: Path) -> None:
    shutil.copy(Path(boxwise.__file__).with_name("inference.proto"), tmp_path)
    shutil.copy(EXAMPLES / "plain_grpc.py", tmp_path)
    command = [sys.executable, "plain_grpc.py", str(photos / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout == "[10.0, 20.0, 40.0, 60.0] 0.75 1\n", done.stderr


def test_service(server: FakeServer) -> None:
    image = io.BytesIO()
    Image.new("RGB", (96, 64)).save(image, "PNG")
    with TestClient(load("service.py").app) as web:
        found = web.post("/predict", files={"image": image.getvalue()})
        assert (found.status_code, found.json()["detections"][0]["class_name"]) == (200, "cup")
        assert (
            web.post("/predict?score_threshold=0.8", files={"image": image.getvalue()}).json()[
                "detections"
            ]
            == []
        )
        refused = web.post("/predict", files={"image": b"no image"})
        assert (refused.status_code, refused.json()["error"][:6]) == (400, "image:")
        server.fail(Overloaded)
        assert web.post("/predict", files={"image": image.getvalue()}).status_code == 503
        assert web.get("/ready").status_code == 200
        server.stop()
        assert web.get("/ready").status_code == 503
        server.start()
