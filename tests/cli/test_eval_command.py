"""`boxwise eval` on a slow server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from boxwise.testing import FakeServer
from boxwise_cli.app import app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for name in "abc":
        Image.new("RGB", (100, 50)).save(tmp_path / "images" / f"{name}.png")
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("val: images\nnames: [car]\n")
    return tmp_path


def test_a_slow_server_is_waited_for(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is of each request, and progress is said where no terminal shows a bar."""
    monkeypatch.setattr("boxwise_cli.eval._REPORT_EVERY_S", 0.0)
    with FakeServer(labels=["car"]) as server:
        server.find("car", (0, 0, 100, 50), 0.9)
        server.delay_s = 0.3
        arguments = ["eval", "--url", server.url, "--data", str(data / "data.yaml"), "--json"]
        done = CliRunner().invoke(app, arguments)
        late = CliRunner().invoke(app, [*arguments, "--timeout", "50ms", "--retries", "0"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["map50"] == pytest.approx(1)
    assert json.loads(done.stdout)["split"] == "val"
    assert "3 of 3 images" in done.stderr
    assert late.exit_code == 1
    assert "did not respond within 0.05 s" in late.stderr


def test_a_split_that_is_not_there(data: Path) -> None:
    done = CliRunner().invoke(
        app, ["eval", "--url", "127.0.0.1:9", "--data", str(data), "--split", "test"]
    )
    assert (done.exit_code, done.stdout) == (1, "")
    assert "data.yaml: has no split test, only val" in done.stderr
