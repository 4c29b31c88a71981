import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from boxwise_cli.app import app
from boxwise_runtime.cache import cache_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOXWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "cache"


@pytest.fixture
def full(folder: Path) -> Path:
    cache_folder()
    (folder / "weights").write_bytes(b"x" * 4_200_000)
    return folder


def run(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["cache", *arguments], input=answer)


def test_where_and_how_large(folder: Path) -> None:
    assert run().output == f"{folder}: nothing yet\n"
    assert json.loads(run("--json").output) == {
        "folder": str(folder),
        "exists": False,
        "bytes": 0,
        "freed_bytes": None,
    }
    cache_folder()
    (folder / "weights").write_bytes(b"x" * 4_200_000)
    assert run().output == f"{folder}: 4.2 MB\n"
    assert json.loads(run("--json").output)["bytes"] > 4_200_000


def test_clear_asks(full: Path) -> None:
    assert run("--clear", answer="n\n").exit_code == 0
    assert (full / "weights").exists()
    done = run("--clear", answer="y\n")
    assert done.exit_code == 0
    assert "deleted 4.2 MB" in done.output
    assert not full.exists()


def test_clear_without_the_question(full: Path) -> None:
    done = run("--clear", "--yes", "--json")
    assert json.loads(done.output) == {
        "folder": str(full),
        "exists": False,
        "bytes": 0,
        "freed_bytes": json.loads(done.output)["freed_bytes"],
    }
    assert json.loads(done.output)["freed_bytes"] > 4_200_000
    assert not full.exists()


def test_json_asks_nobody(full: Path) -> None:
    done = run("--clear", "--json")
    assert done.exit_code == 2
    assert (full / "weights").exists()


def test_a_folder_of_someone_else_is_kept(folder: Path) -> None:
    folder.mkdir()
    (folder / "letters").touch()
    done = run("--clear", "--yes")
    assert done.exit_code == 1
    assert "nothing was deleted" in done.output
    assert (folder / "letters").exists()
