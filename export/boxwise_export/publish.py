"""A repository is written so that a reader never sees half of it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from boxwise_export.errors import ExportError
from boxwise_export.pipeline import Pipeline
from boxwise_export.plan import ClassifierPlan, DetectorPlan, Plan
from boxwise_export.repository import ModelFolder

MANIFEST_SUFFIX = ".manifest.json"


def publish(plan: Plan, pipeline: Pipeline, folders: Sequence[ModelFolder], out: Path) -> Path:
    """Write a pipeline's models into a repository, which may hold other pipelines, and its manifest beside them.

    Everything is written to a temporary folder next to the repository first and moved in when it is whole; a failure
    or Ctrl-C on the way leaves what was there before.

    Args:
        plan: what the models were made of.
        pipeline: its file.
        folders: the models.
        out: the repository; made where there is none.

    Returns:
        The manifest's path.

    Raises:
        ExportError: `out` holds something that boxwise did not write, or another pipeline has a model of this name.
    """
    replaced = _published(out, plan.name, {folder.name for folder in folders})
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as staging:
        fresh, old = Path(staging, "new"), Path(staging, "old")
        fresh.mkdir()
        old.mkdir()
        for folder in folders:
            for path, content in folder.files.items():
                file = fresh / folder.name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        manifest = f"{plan.name}{MANIFEST_SUFFIX}"
        (fresh / manifest).write_text(json.dumps(_manifest(plan, pipeline, folders), indent=2) + "\n", encoding="utf-8")
        _swap(out, fresh, old, leaving=[*replaced, manifest])
    return out / manifest


def _swap(out: Path, fresh: Path, old: Path, leaving: Sequence[str]) -> None:
    """Move what is new in and what it replaces out; undone when it cannot be finished."""
    out.mkdir(exist_ok=True)
    moves = [(out / name, old / name) for name in leaving if (out / name).exists()]
    moves += [(entry, out / entry.name) for entry in sorted(fresh.iterdir())]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            done.append((source, target))
            source.rename(target)
    except BaseException:
        for source, target in reversed(done):
            if target.exists() and not source.exists():
                target.rename(source)
        with suppress(OSError):
            out.rmdir()  # only where it was ours and is empty again
        raise


def _published(out: Path, pipeline: str, names: set[str]) -> list[str]:
    """The models of this pipeline that `out` holds by now."""
    if not out.exists():
        return []
    if not out.is_dir():
        raise ExportError(f"{out}: a file; expected a folder, or a path where nothing is yet")
    owners: dict[str, str] = {}
    for path in out.glob(f"*{MANIFEST_SUFFIX}"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        owners |= dict.fromkeys(manifest["models"], manifest["pipeline"]["name"])
    strangers = [entry.name for entry in sorted(out.iterdir()) if entry.is_dir() and entry.name not in owners]
    if strangers:
        raise ExportError(
            f"{out}: holds {strangers[0]!r}, which boxwise did not write; choose another folder for --out"
        )
    for name in sorted(names):
        if owners.get(name, pipeline) != pipeline:
            raise ExportError(f"{out}: pipeline {owners[name]!r} has a model {name!r} too; rename one of the pipelines")
    return [name for name, owner in owners.items() if owner == pipeline]


def _manifest(plan: Plan, pipeline: Pipeline, folders: Sequence[ModelFolder]) -> dict[str, Any]:
    parts: dict[str, DetectorPlan | ClassifierPlan] = {"detector": plan.detector} if plan.detector else {}
    parts |= {classifier.spec.name: classifier for classifier in plan.classifiers}
    return {
        "pipeline": pipeline.model_dump(mode="json"),
        "sources": {
            name: {"weights": part.spec.weights.title, "sha256": part.source.digest} for name, part in parts.items()
        },
        "models": {folder.name: _digests(folder.files) for folder in folders},
        "versions": {name: _version(name) for name in ("boxwise", "onnx", "onnxruntime", "numpy", "torch")},
    }


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
