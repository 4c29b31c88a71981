"""Publish a pipeline: models that changed get their next version, the others stay."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from boxwise_export.errors import RepositoryError
from boxwise_export.plan import ClassifierPlan, DetectorPlan, Plan
from boxwise_export.repository.atomic_dir import edited, locked, write_file
from boxwise_export.repository.layouts import Stages, layers, read_stages
from boxwise_export.repository.manifest import (
    Manifest,
    Provenance,
    Revision,
    find_manifest,
    read_manifests,
)
from boxwise_export.repository.revisions import place, prune, serve
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_export.repository.versions import (
    Content,
    ModelFolder,
    content_of,
    is_served,
    version_files,
    versions_of,
    write_version,
)
from boxwise_runtime.targets import TARGETS

KEPT = 3  # revisions: the served one, and two to roll back to


@dataclass(frozen=True)
class Publication:
    """What a publication changed.

    Attributes:
        revision: the one that is served now.
        changed: the models that got a new version.
        new: whether the revision is a new one.
    """

    revision: Revision
    changed: Sequence[str]
    new: bool = True

    def lines(self) -> list[str]:
        """Return what changed, as lines of text."""
        number, models = self.revision.number, self.revision.models
        if not self.new:
            return [f"nothing changed: revision {number} stays"]
        if not self.changed:
            return [f"published revision {number}: every model stays as it was"]
        versions = ", ".join(f"{name} {models[name]}" for name in self.changed)
        same = len(models) - len(self.changed)
        return [
            f"published revision {number}: {versions}"
            + (f"; {same} models stay as they were" if same else "")
        ]


def publish(
    plan: Plan,
    stages: Stages,
    out: Path,
    *,
    file: str = "",
    parity: Mapping[str, Any] | None = None,
    accuracy: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    sheet: bytes | None = None,
    keep: int = KEPT,
) -> Publication:
    """Write a pipeline's models and its manifest into a repository, which may hold other pipelines.

    A model that did not change keeps its version; if none changed, nothing is written. The
    repository changes atomically: after a failure or Ctrl-C it is as before.

    Args:
        plan: of the pipeline.
        stages: its stages, from `write_stages`.
        out: the repository; created if missing.
        file: the text of the pipeline file, for the manifest.
        parity: the gate's report, for the manifest.
        accuracy: figures on a labelled set, for the manifest.
        warnings: what is absurd about the detections, for the manifest.
        sheet: annotated images, a JPEG, kept beside the manifest as long as the revision.
        keep: how many revisions are kept, this one included.

    Raises:
        RepositoryError: `out` holds something that boxwise did not write, or another pipeline has a
            model of this name.
    """
    draft = Revision(
        number=0,
        published=_now(),
        precision=plan.precision,
        models={},
        digests={},
        sources=_sources(plan),
        file=file,
        software={
            name: _installed(name) for name in ("boxwise", "onnx", "onnxruntime", "numpy", "torch")
        },
        engines={target.name: target.engine for target in TARGETS.values()},
        parity=dict(parity) if parity is not None else None,
        accuracy=dict(accuracy) if accuracy is not None else None,
        notes={name: list(part.notes) for name, part in _parts(plan).items() if part.notes},
        warnings=list(warnings),
    )
    with locked(out.resolve()):
        return _publish(out.resolve(), plan.name, stages, plan.serving, draft, keep, sheet)


def change_layout(
    repository: Path, pipeline: str | None, serving: ServingConfig, *, keep: int = KEPT
) -> Publication:
    """Publish the served revision again, in another layout or with other serving settings.

    Args:
        repository: that holds it.
        pipeline: its name; None if it is the only one.
        serving: what is to change; see `ServingConfig.followed_by`.
        keep: see `publish`.

    Raises:
        RepositoryError: there is no such pipeline.
    """
    repository = repository.resolve()
    with locked(repository):
        manifest = find_manifest(repository, pipeline)
        current = manifest.revision()
        stages = read_stages(repository, manifest.pipeline, current)
        draft = current.model_copy(update={"published": _now()})
        changed = manifest.serving().followed_by(serving)
        return _publish(repository, manifest.pipeline, stages, changed, draft, keep)


def _publish(
    out: Path,
    pipeline: str,
    stages: Stages,
    serving: ServingConfig,
    draft: Revision,
    keep: int,
    sheet: bytes | None = None,
) -> Publication:
    """Give every model its version and write what changed; `draft` is the revision but for its
    number and models.
    """
    manifest = _manifest_of(out, pipeline)
    served = manifest.revision().models if manifest else {}
    versions: dict[str, int] = {}
    folders: list[ModelFolder] = []
    for layer in layers(pipeline, stages, serving):
        made = layer(versions)
        versions |= {folder.name: _version(out, pipeline, folder, served) for folder in made}
        folders += made
    _refuse_names(out, pipeline, versions)
    if manifest and versions == served and manifest.revision().serving == serving:
        return Publication(manifest.revision(), [], new=False)
    changed = [name for name in versions if versions[name] != served.get(name)]
    number = manifest.next_number if manifest else 1
    revision = draft.model_copy(
        update={
            "number": number,
            "sheet": f"{pipeline}.revision-{number}.jpg" if sheet else draft.sheet,
            "models": versions,
            "serving": serving,
            "digests": {folder.name: _digests(version_files(folder)) for folder in folders},
        }
    )
    first = Manifest(pipeline=pipeline, current=number, revisions=[revision])
    _write(
        out,
        manifest.followed_by(revision) if manifest else first,
        [folder for folder in folders if folder.name in changed],
        sheet,
        keep,
    )
    return Publication(revision, changed)


def _write(
    out: Path, manifest: Manifest, changed: Sequence[ModelFolder], sheet: bytes | None, keep: int
) -> None:
    """Write a manifest's current revision into the repository, which changes as a whole."""
    revision = manifest.revision()
    with edited(out) as tree:
        for folder in changed:
            model = place(tree, manifest.pipeline, folder.name)
            write_version(model, folder, revision.models[folder.name])
        if sheet and revision.sheet:
            write_file(tree / revision.sheet, sheet)
        serve(tree, manifest)
        prune(tree, manifest, keep)


def _version(out: Path, pipeline: str, folder: ModelFolder, served: Mapping[str, int]) -> int:
    """Return the served version if the model is unchanged, else the next one."""
    if folder.name in served and is_served(out / folder.name, folder, served[folder.name]):
        return served[folder.name]
    return max(versions_of(place(out, pipeline, folder.name)), default=0) + 1


def _manifest_of(out: Path, pipeline: str) -> Manifest | None:
    """Return the manifest that `out` has of this pipeline, if any."""
    if out.exists() and not out.is_dir():
        raise RepositoryError(f"{out}: a file; expected a folder, or a path where nothing is yet")
    manifests = read_manifests(out)
    known = {model for manifest in manifests.values() for model in manifest.models}
    if strangers := [entry.name for entry in _folders(out) if entry.name not in known]:
        raise RepositoryError(
            f"{out}: holds {strangers[0]!r}, which boxwise did not write; choose another "
            "folder for --out"
        )
    return manifests.get(pipeline)


def _refuse_names(out: Path, pipeline: str, models: Mapping[str, int]) -> None:
    for other in read_manifests(out).values():
        if other.pipeline != pipeline and (same := sorted(other.models & set(models))):
            raise RepositoryError(
                f"{out}: pipeline {other.pipeline!r} has a model {same[0]!r} too; rename "
                "one of the pipelines"
            )


def _folders(out: Path) -> Iterator[Path]:
    return (entry for entry in sorted(out.glob("*")) if entry.is_dir())


def _sources(plan: Plan) -> dict[str, Provenance]:
    return {
        name: Provenance(
            weights=part.spec.weights.title,
            sha256=part.source.digest,
            origin=part.source.origin,
            licence=part.source.licence,
        )
        for name, part in _parts(plan).items()
    }


def _parts(plan: Plan) -> dict[str, DetectorPlan | ClassifierPlan]:
    parts: dict[str, DetectorPlan | ClassifierPlan] = (
        {"detector": plan.detector} if plan.detector else {}
    )
    return parts | {classifier.spec.name: classifier for classifier in plan.classifiers}


def _digests(files: Mapping[str, Content]) -> dict[str, str]:
    return {
        path: hashlib.sha256(content_of(content)).hexdigest() for path, content in files.items()
    }


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _now() -> str:
    """Return the time, or SOURCE_DATE_EPOCH (reproducible-builds.org)."""
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
