"""Choose which revision of a pipeline a repository serves."""

from __future__ import annotations

import shutil
from pathlib import Path

from boxwise_export.errors import RepositoryError
from boxwise_export.repository.atomic_dir import edited, locked, write_file
from boxwise_export.repository.manifest import Manifest, find_manifest
from boxwise_export.repository.versions import serve_version, versions_of

# Holds models that the served revision does not have, inside the pipeline's own model, which every
# revision has: Triton loads everything at the top of a repository.
_RETIRED = "retired"


def rollback(repository: Path, pipeline: str | None = None, number: int | None = None) -> Manifest:
    """Serve another revision of a pipeline, without writing a model.

    Args:
        repository: that holds it.
        pipeline: its name; None if it is the only one.
        number: of the revision; None for the one served before.

    Raises:
        RepositoryError: there is no such pipeline or revision.
    """
    repository = repository.resolve()
    with locked(repository):
        manifest = find_manifest(repository, pipeline)
        if number is None:
            earlier = manifest.revisions[: manifest.position]
            if not earlier:
                raise RepositoryError(
                    f"{manifest.pipeline}: revision {manifest.current} is the first that is "
                    "kept; name one with --to"
                )
            number = earlier[-1].number
        manifest = manifest.model_copy(update={"current": manifest.revision(number).number})
        with edited(repository) as tree:
            serve(tree, manifest)
    return manifest


def serve(tree: Path, manifest: Manifest) -> None:
    """Put the models of the manifest's current revision in place, and write the manifest."""
    models = manifest.revision().models
    for name in sorted(manifest.models):
        retired = tree / manifest.pipeline / _RETIRED / name
        if name in models:
            if retired.exists():
                retired.rename(tree / name)
            serve_version(tree / name, models[name])
        elif (tree / name).exists():
            retired.parent.mkdir(parents=True, exist_ok=True)
            (tree / name).rename(retired)
    write_file(tree / manifest.file_name, manifest.model_dump_json(indent=2).encode() + b"\n")


def prune(tree: Path, manifest: Manifest, keep: int) -> None:
    """Remove all but the last `keep` revisions, and the versions that only those had."""
    kept = manifest.model_copy(update={"revisions": manifest.revisions[-keep:]})
    needed = {
        (name, number) for revision in kept.revisions for name, number in revision.models.items()
    }
    for name in sorted(manifest.models):
        model = place(tree, manifest.pipeline, name)
        for number in versions_of(model):
            if (name, number) not in needed:
                shutil.rmtree(model / str(number))
        if model.exists() and not versions_of(model):
            shutil.rmtree(model)
    sheets = {revision.sheet for revision in kept.revisions}
    for revision in manifest.revisions:
        if revision.sheet and revision.sheet not in sheets:
            (tree / revision.sheet).unlink(missing_ok=True)
    write_file(tree / kept.file_name, kept.model_dump_json(indent=2).encode() + b"\n")


def place(repository: Path, pipeline: str, model: str) -> Path:
    """Return a model's folder, retired or not."""
    retired = repository / pipeline / _RETIRED / model
    return retired if retired.exists() else repository / model
