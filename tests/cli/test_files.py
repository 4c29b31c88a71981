"""Files that commands write."""

from pathlib import Path

import pytest

from boxwise_cli.files import write_bytes, write_text


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "grüße")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "grüße"
    write_bytes(tmp_path / "new" / "a.txt", b"")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b""
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_text(tmp_path / "taken", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]
