"""Build the plans of a repository, or take them from the cache; compare them with their graphs, and
put them in place.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_export.checkpoints.base import file_digest
from boxwise_export.checkpoints.network import Report
from boxwise_export.parity.engines import check_engines
from boxwise_export.parity.limits import Limits
from boxwise_export.repository.atomic_dir import write_file
from boxwise_export.repository.configs import read_config
from boxwise_export.repository.manifest import Revision, find_manifest
from boxwise_export.repository.runner import load_runner
from boxwise_export.tensorrt.engine import WORKSPACE, EngineError, Profile, build
from boxwise_export.tensorrt.gpu import Gpu
from boxwise_runtime.pipeline_runner import Graph
from boxwise_runtime.targets import TENSORRT

GRAPH, PLAN = "model.onnx", "model.plan"
# What makes a plan runnable: serialised engine -> named tensors in, named tensors out, as a graph
# does it.
Load = Callable[[bytes], Graph]


@dataclass(frozen=True)
class BuiltEngine:
    """A model that has its plan: `cached` where an earlier build was taken."""

    model: str
    version: int
    key: str
    cached: bool
    bytes: int


def graphs_of(repository: Path, revision: Revision) -> dict[str, Path]:
    """Model -> its model.onnx, of every model of a revision that has one.

    Raises:
        EngineError: there is none.
    """
    files = {
        model: repository / model / str(version) / GRAPH
        for model, version in revision.models.items()
    }
    found = {model: file for model, file in files.items() if file.is_file()}
    if not found:
        raise EngineError(
            f"{repository}: layout fused runs its graphs inside one model, on the CPU; for "
            f"TensorRT: `boxwise layout {repository} ensemble`"
        )
    return found


def profile_of(graph: Path) -> Profile:
    """The shapes that a model's TensorRT configuration lets through."""
    config = read_config(graph.parent / TENSORRT.config)
    (image,) = config.input
    return Profile(image.name, tuple(image.dims), max(1, config.max_batch_size))


def plan_key(graph: Path, trt_version: str, capability: str, profile: Profile) -> str:
    """What a plan depends on, as one SHA-256: graph, TensorRT, kind of GPU, shapes."""
    parts = {
        "graph": file_digest(graph),
        "tensorrt": trt_version,
        "capability": capability,
        "profile": asdict(profile) | {"best": profile.best},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def build_engines(
    repository: Path,
    pipeline: str | None,
    *,
    trt: Any,
    gpu: Gpu,
    cache: Path,
    load: Load | None,
    frames: Sequence[NDArray[np.uint8]],
    limits: Limits | None = None,
    workspace: int = WORKSPACE,
    rebuild: bool = False,
    configure: Callable[[Any], None] = lambda _: None,
    report: Report = lambda _: None,
) -> list[BuiltEngine]:
    """Give every graph of the served revision its plan for this machine.

    Plans are put in place when all of them are built and agree with their graphs; until then the
    repository is as it was. A plan is replaced by a rename, so that nobody reads half of one.

    Args:
        repository: what `boxwise export` wrote.
        pipeline: its name; None if it is the only one.
        trt: the module.
        gpu: what the plans are for.
        cache: a folder of plans by their keys, and of timings.
        load: makes a plan runnable, to be compared with its graph; None to compare nothing.
        frames: RGB uint8 [H, W, 3], real images.
        limits: what is allowed; None for those of the revision's precision.
        workspace: bytes of GPU memory for the builder.
        rebuild: whether to build what the cache has, too.
        configure: the last word on the builder's configuration.
        report: told each step.

    Raises:
        ExportError: a graph that TensorRT cannot read or build, or a plan that differs from its
            graph.
    """
    manifest = find_manifest(repository, pipeline)
    revision = manifest.revision()
    graphs = graphs_of(repository, revision)
    built, plans = [], {}
    for model, graph in graphs.items():
        profile = profile_of(graph)
        key = plan_key(graph, trt.__version__, gpu.capability, profile)
        kept = cache / f"{key}.plan"
        cached = kept.is_file() and not rebuild
        if cached:
            report(f"{model}: built before, {_megabytes(kept.stat().st_size)}")
        else:
            report(
                f"{model}: building for {gpu.name} ({gpu.capability}), batches of 1 to "
                f"{profile.most}"
            )
            timings = cache / f"{trt.__version__}-{gpu.capability}.timings"
            known = timings.read_bytes() if timings.is_file() else b""
            made = build(
                trt,
                graph,
                profile,
                timings=known,
                workspace=workspace,
                report=report,
                configure=configure,
            )
            _replace(timings, made.timings)
            _replace(kept, made.plan)
        plans[model] = kept.read_bytes()
        built.append(BuiltEngine(model, revision.models[model], key, cached, len(plans[model])))
    if load is not None:
        _compare(
            repository, manifest.pipeline, plans, load, frames, limits or _limits(revision), report
        )
    for model, plan in plans.items():
        _replace(graphs[model].parent / PLAN, plan)
    return built


def _compare(
    repository: Path,
    pipeline: str,
    plans: Mapping[str, bytes],
    load: Load,
    frames: Sequence[NDArray[np.uint8]],
    limits: Limits,
    report: Report,
) -> None:
    """Run the pipeline with graphs and with plans.

    Raises:
        EngineError: they differ by more than the limits.
    """
    exact = load_runner(repository, pipeline)
    prefix = f"{pipeline}_classifier_"
    planned = replace(
        exact,
        detector=load(plans[f"{pipeline}_detector"]) if exact.detector else None,
        classifiers={name: load(plans[prefix + name]) for name in exact.classifiers},
    )
    steps = check_engines(exact, planned, frames, limits)
    for step in steps:
        report(f"  {step}")
    if wrong := next((step for step in steps if step.passed is False), None):
        raise EngineError(
            f"{wrong.part}: the plan differs from its graph in the {wrong.name}: {wrong.sentence}; "
            "no plan was put in place. Export in fp32, or allow more under `tolerances:`"
        )


def _limits(revision: Revision) -> Limits:
    """Those of the revision's pipeline file and precision."""
    import yaml

    from boxwise_export.parity.limits import limits_of
    from boxwise_export.pipeline import Tolerances

    said = (yaml.safe_load(revision.file) or {}).get("tolerances") or {}
    return limits_of(Tolerances.model_validate(said), revision.precision)  # type: ignore[arg-type]


def _replace(path: Path, content: bytes) -> None:
    """Put a file in place atomically."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_file(beside, content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
