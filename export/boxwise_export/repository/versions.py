"""The numbered versions of a model; a version's folder holds everything that it is served with."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from boxwise_export.repository.atomic_dir import share_file, write_file

Content = bytes | Path


@dataclass(frozen=True)
class ModelFolder:
    """One model of a repository, before it has a version.

    Attributes:
        name: of the model and its folder.
        configs: path inside the folder -> configuration.
        files: path inside the version's folder -> content, or a file that holds it and is never
            written to again.
    """

    name: str
    configs: Mapping[str, str]
    files: Mapping[str, Content]


def versions_of(model: Path) -> list[int]:
    """Return the versions in a model's folder, in order."""
    return sorted(int(entry.name) for entry in model.glob("*") if entry.name.isdigit())


def content_of(content: Content) -> bytes:
    """Return the bytes, read from their file if they are in one."""
    return content.read_bytes() if isinstance(content, Path) else content


def version_files(folder: ModelFolder) -> dict[str, Content]:
    """Return path inside the version's folder -> content, configurations included."""
    return {**folder.files, **{path: text.encode() for path, text in folder.configs.items()}}


def config_files(version: Path) -> list[Path]:
    """Return the configurations in a version's folder: the default one, and those of targets."""
    return [version / "config.pbtxt", *sorted(version.glob("configs/*.pbtxt"))]


def is_served(model: Path, folder: ModelFolder, version: int) -> bool:
    """Return whether the model's folder holds this as the version, and serves it."""
    places: dict[Path, Content] = {
        model / str(version) / path: content for path, content in version_files(folder).items()
    }
    places |= {
        model / path: _naming(text.encode(), version) for path, text in folder.configs.items()
    }
    return all(place.is_file() and _same(place, content) for place, content in places.items())


def write_version(model: Path, folder: ModelFolder, version: int) -> None:
    """Add a version to a model's folder, without serving it."""
    for path, content in version_files(folder).items():
        place = model / str(version) / path
        if isinstance(content, Path):
            share_file(content, place)
        else:
            write_file(place, content)


def serve_version(model: Path, version: int) -> None:
    """Put the version's configurations where Triton reads them; they select the version."""
    shutil.rmtree(model / "configs", ignore_errors=True)
    source = model / str(version)
    for config in config_files(source):
        write_file(model / config.relative_to(source), _naming(config.read_bytes(), version))


def _same(place: Path, content: Content) -> bool:
    if isinstance(content, Path):
        return filecmp.cmp(place, content, shallow=False)
    return place.read_bytes() == content


def _naming(config: bytes, version: int) -> bytes:
    policy = (
        "# What is served of the numbered folders; `boxwise rollback` goes back to another.\n"
        f"version_policy {{ specific {{ versions: [ {version} ] }} }}\n"
    )
    return config + policy.encode()
