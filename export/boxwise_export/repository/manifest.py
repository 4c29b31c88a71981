"""The manifest of a pipeline in a repository: its revisions, and which one is served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from boxwise_export.errors import RepositoryError
from boxwise_export.repository.serving_config import ServingConfig

_SCHEMA: Literal[1] = 1
_SUFFIX = ".manifest.json"
_MOST_BYTES = 64_000_000


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Provenance(_Section):
    """Where a detector or a classifier came from.

    `weights` is their name in the pipeline file, `sha256` their digest, `origin` what read them.
    """

    weights: str
    sha256: str
    origin: str
    licence: str | None = None


class Revision(_Section):
    """One publication.

    Attributes:
        number: from 1.
        published: its time, UTC, ISO 8601.
        precision: of the graphs.
        models: the version of each model.
        digests: model -> file in its version's folder -> SHA-256.
        sources: where the detector and each classifier came from.
        file: the text of the pipeline file.
        software: the packages that exported it, by version.
        serving: the layout, and every number of how it is served; boxwise 0.1 recorded none.
        engines: target -> what runs the networks there.
        parity: the report of the parity gate.
        accuracy: the figures on a labelled set, where one was given.
        notes: what was concluded about each part and not stated in the pipeline file.
        warnings: what is absurd about the detections.
        sheet: the file of annotated images beside the manifest.
    """

    number: int
    published: str
    precision: str
    models: dict[str, int]
    digests: dict[str, dict[str, str]]
    sources: dict[str, Provenance]
    file: str
    software: dict[str, str | None]
    serving: ServingConfig | None = None
    engines: dict[str, str] = {}
    parity: dict[str, Any] | None = None
    accuracy: dict[str, Any] | None = None
    notes: dict[str, list[str]] = {}
    warnings: list[str] = []
    sheet: str | None = None


class Manifest(_Section):
    """A pipeline in a repository; `current` is the number of the revision that is served.

    `revisions` are in the order of `rollback`, the last one first; the first are pruned first.
    """

    schema_version: Literal[1] = _SCHEMA
    pipeline: str
    current: int
    revisions: list[Revision]

    def revision(self, number: int | None = None) -> Revision:
        """Return the revision of this number (default: the served one).

        Raises:
            RepositoryError: it was never published, or was pruned.
        """
        wanted = self.current if number is None else number
        for revision in self.revisions:
            if revision.number == wanted:
                return revision
        kept = ", ".join(str(revision.number) for revision in self.revisions)
        raise RepositoryError(f"{self.pipeline}: there is no revision {wanted}; kept are {kept}")

    def serving(self) -> ServingConfig:
        """Return the serving settings of the served revision, every number settled.

        Raises:
            RepositoryError: boxwise 0.1 exported it, without recording them.
        """
        if (serving := self.revision().serving) is None:
            raise RepositoryError(
                f"{self.pipeline}: revision {self.current} was exported by boxwise 0.1, which did "
                "not record how it is served; export it again"
            )
        return serving

    @property
    def next_number(self) -> int:
        """The number of the next revision."""
        return 1 + max(revision.number for revision in self.revisions)

    @property
    def position(self) -> int:
        """The index of the served revision in `revisions`."""
        return self.revisions.index(self.revision())

    def followed_by(self, revision: Revision) -> Manifest:
        """Return the manifest with a new revision served; `rollback` goes to the one served now
        first, and last to those that were rolled back.
        """
        here = self.position + 1
        order = [*self.revisions[here:], *self.revisions[:here], revision]
        return self.model_copy(update={"current": revision.number, "revisions": order})

    @property
    def models(self) -> set[str]:
        """The models of all revisions."""
        return {model for revision in self.revisions for model in revision.models}

    @property
    def file_name(self) -> str:
        """The name of the manifest's file."""
        return self.pipeline + _SUFFIX


def read_manifests(repository: Path) -> Mapping[str, Manifest]:
    """Read the manifests of a repository, by pipeline; none if there is no such folder.

    Raises:
        RepositoryError: a manifest is invalid.
    """
    manifests = {}
    for path in sorted(repository.glob(f"*{_SUFFIX}")):
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise RepositoryError(
                f"{path}: {size:,} bytes; a manifest has a few thousand for each revision. "
                "Export to a new folder"
            )
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise RepositoryError(
                f"{path}: not a manifest of schema {_SCHEMA} ({key}: {first['msg']}); "
                "export to a new folder, or with the boxwise that wrote this one"
            ) from error
        manifests[manifest.pipeline] = manifest
    return manifests


def find_manifest(repository: Path, pipeline: str | None = None) -> Manifest:
    """Read the manifest of a pipeline, by default of the only one.

    Raises:
        RepositoryError: there is no such pipeline, or there are several and none is named.
    """
    manifests = read_manifests(repository)
    if not manifests:
        raise RepositoryError(
            f"{repository}: holds no pipeline; expected a repository that `boxwise export` wrote"
        )
    if pipeline is None and len(manifests) > 1:
        raise RepositoryError(
            f"{repository}: holds {', '.join(manifests)}; say which with --pipeline"
        )
    if pipeline is not None and pipeline not in manifests:
        raise RepositoryError(
            f"{repository}: has no pipeline {pipeline!r}; it holds {', '.join(manifests)}"
        )
    return manifests[pipeline] if pipeline is not None else next(iter(manifests.values()))
