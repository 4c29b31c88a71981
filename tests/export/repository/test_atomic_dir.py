"""A folder that is changed at once."""

import errno
import os
import stat
import threading
from pathlib import Path
from unittest import mock

import pytest

from boxwise_export.errors import RepositoryError
from boxwise_export.repository import atomic_dir
from boxwise_export.repository.atomic_dir import edited, locked, write_file


def change(folder: Path, text: str) -> None:
    with locked(folder), edited(folder) as tree:
        write_file(tree / "file", text.encode())


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("exchanges", [0, errno.EINVAL, errno.ENOSYS])
def test_what_is_not_touched_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: int, links: bool
) -> None:
    folder = tmp_path / "folder"
    change(folder, "one")
    write_file(folder / "inner" / "other", b"other")
    if exchanges:
        monkeypatch.setattr(
            atomic_dir, "_rename_exchange", mock.Mock(side_effect=OSError(exchanges, "cannot"))
        )
    if not links:
        monkeypatch.setattr(atomic_dir.os, "link", mock.Mock(side_effect=OSError))
    change(folder, "two")
    assert (folder / "file").read_text() == "two"
    assert (folder / "inner" / "other").read_text() == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o444), (0o077, 0o400)])
def test_files_are_written_once_and_replaced_whole(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        for text in (b"one", b"two"):
            write_file(tmp_path / "file", text)
            assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
            assert (tmp_path / "file").read_bytes() == text
    finally:
        os.umask(before)


@pytest.mark.parametrize("failing", ["share", "_sync", "_exchange"])
def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path, failing: str) -> None:
    folder = tmp_path / "folder"
    change(folder, "one")
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        mock.patch.object(atomic_dir, failing, side_effect=full),
        pytest.raises(
            RepositoryError,
            match=r"folder: cannot be written \(No space left on device\), and stays as it was",
        ),
    ):
        change(folder, "two")
    assert (folder / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_mount_point_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    change(folder, "one")
    busy = OSError(errno.EBUSY, "busy")
    with (
        mock.patch.object(atomic_dir, "_rename_exchange", side_effect=busy),
        pytest.raises(RepositoryError, match="a mount point, which cannot be replaced as a whole"),
    ):
        change(folder, "two")
    assert (folder / "file").read_text() == "one"


def test_a_reader_finds_it_at_every_moment(tmp_path: Path) -> None:
    folder, read, done = tmp_path / "folder", set(), threading.Event()
    change(folder, "0")

    def reader() -> None:
        while not done.is_set():
            read.add((folder / "file").read_text())

    thread = threading.Thread(target=reader)
    with mock.patch.object(threading, "excepthook", side_effect=lambda _: read.add("missing")):
        thread.start()
        for number in range(100):
            change(folder, str(number))
        done.set()
        thread.join()
    assert "missing" not in read
    assert len(read) > 3


def test_what_was_cut_off_is_put_right(tmp_path: Path) -> None:
    """Between the two renames of a file system that cannot exchange, the folder is there under
    another name.
    """
    folder = tmp_path / "folder"
    change(folder, "one")
    folder.rename(tmp_path / ".folder.previous")
    (tmp_path / ".folder.staging-x" / "new").mkdir(parents=True)
    with locked(folder):
        assert (folder / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_changes_wait_for_each_other(tmp_path: Path) -> None:
    folder, order = tmp_path / "folder", []

    def other() -> None:
        change(folder, "two")
        order.append("two")

    with locked(folder):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.2)
        order.append("one")
    thread.join()
    assert order == ["one", "two"]
