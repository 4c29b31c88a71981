"""Read a repository into a recipe: the only place where peers depend on the export's files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from boxwise_benchmarks.baselines.recipe import Recipe
from boxwise_export.repository.configs import read_config
from boxwise_export.repository.layouts import stage_folders
from boxwise_export.repository.manifest import find_manifest
from boxwise_export.repository.runner import load_runner
from boxwise_runtime.launcher.options import pipelines


def read_recipe(repository: Path) -> Recipe:
    """Return the recipe of a repository's only pipeline.

    Raises:
        ValueError: it does not hold exactly one pipeline of a detector and a classifier.
    """
    found = pipelines(repository)
    if len(found) != 1:
        raise ValueError(
            f"{repository} holds {len(found)} pipelines ({', '.join(found)}); peers are "
            "measured on one"
        )
    (pipeline,) = found
    runner = load_runner(repository, pipeline)
    if runner.preprocess is None or len(runner.classifiers) != 1:
        raise ValueError(
            f"{pipeline} has {'a' if runner.preprocess else 'no'} detector and "
            f"{len(runner.classifiers)} classifiers; peers serve one detector and one classifier, "
            "as the demo has"
        )
    ((classifier, top_k),) = runner.top_k.items()
    folders = stage_folders(
        repository, pipeline, find_manifest(repository, pipeline).revision().models
    )
    # The classifier's: the detector runs on one image at a time, so its chunk means nothing.
    config = read_config(folders[f"classifier_{classifier}"] / "config.pbtxt")
    return Recipe(
        pipeline=pipeline,
        preprocess=asdict(runner.preprocess),
        objects=asdict(runner.objects),
        classifier=classifier,
        top_k=top_k,
        graphs={
            name: str(folders[name] / "model.onnx")
            for name in ("detector", f"classifier_{classifier}")
        },
        instances=config.instance_group[0].count,
        threads=int(config.parameters["threads"].string_value),
        chunk=int(config.parameters["chunk"].string_value),
    )


def digests(graphs: Mapping[str, str | Path]) -> dict[str, str]:
    """Return SHA-256 of each graph, by its name."""
    return {
        name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in graphs.items()
    }
