"""The numbered versions of a model in a repository: each folder of a version holds all that it is
served with.
"""

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
    """The versions that a model's folder holds, in order."""
    return sorted(int(entry.name) for entry in model.glob("*") if entry.name.isdigit())


def content_of(content: Content) -> bytes:
    """The bytes, read where they lie in a file."""
    return content.read_bytes() if isinstance(content, Path) else content


def version_files(folder: ModelFolder) -> dict[str, Content]:
    """Path inside the version's folder -> content, the configurations included."""
    return {**folder.files, **{path: text.encode() for path, text in folder.configs.items()}}


def config_files(version: Path) -> list[Path]:
    """The configurations in a version's folder: what Triton takes unasked, and those of single
    targets.
    """
    return [version / "config.pbtxt", *sorted(version.glob("configs/*.pbtxt"))]


def is_served(model: Path, folder: ModelFolder, version: int) -> bool:
    """Whether this is what the model's folder holds as this version, and serves."""
    places: dict[Path, Content] = {
        model / str(version) / path: content for path, content in version_files(folder).items()
    }
    places |= {
        model / path: _naming(text.encode(), version) for path, text in folder.configs.items()
    }
    return all(place.is_file() and _same(place, content) for place, content in places.items())


def write_version(model: Path, folder: ModelFolder, version: int) -> None:
    """Add a version to a model's folder; it is not served yet."""
    for path, content in version_files(folder).items():
        place = model / str(version) / path
        if isinstance(content, Path):
            share_file(content, place)
        else:
            write_file(place, content)


def serve_version(model: Path, version: int) -> None:
    """Put the version's configurations where Triton looks for them; they name it there."""
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
