"""A pipeline in one process: the stages and graphs that a server would load, one after another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boxwise_export.repository.configs import Template
from boxwise_export.repository.layouts import CHUNK, Stages, read_stages
from boxwise_export.repository.manifest import find_manifest
from boxwise_runtime.parameters import read_parameters
from boxwise_runtime.pipeline_runner import Graph, PipelineRunner
from boxwise_runtime.request_queue import take_queue
from boxwise_runtime.session import OnnxGraph


def load_runner(repository: Path, pipeline: str, threads: int = 1) -> PipelineRunner:
    """Read every stage and graph of the revision that is served.

    Args:
        repository: exported.
        pipeline: its name.
        threads: of each graph.

    Raises:
        RepositoryError: there is no such pipeline.
    """
    revision = find_manifest(repository, pipeline).revision()
    return runner_of(read_stages(repository, pipeline, revision), threads)


def runner_of(stages: Stages, threads: int = 1) -> PipelineRunner:
    """Run stages one after the other; the arguments are those of `load_runner`."""
    configs = {
        name: Template.read(folder.configs["config.pbtxt"]).config
        for name, folder in stages.items()
    }

    def fields(name: str) -> Mapping[str, Any]:
        parameters = {key: value.string_value for key, value in configs[name].parameters.items()}
        take_queue(parameters)
        return read_parameters(parameters)

    def graph(name: str) -> Graph:
        model = stages[name].files["model.onnx"]
        return OnnxGraph(model, threads=threads, chunk=CHUNK)

    labels = {
        name.removeprefix("classifier_"): next(
            each.dims[-1] for each in config.output if each.name == "label_ids"
        )
        for name, config in configs.items()
        if name.startswith("classifier_")
    }
    detects = "detector" in stages
    return PipelineRunner.build(
        fields("preprocess") if detects else {},
        fields("nms" if detects else "whole_picture"),
        labels,
        graph,
    )
