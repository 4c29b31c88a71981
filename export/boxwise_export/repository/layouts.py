"""Turn a pipeline's stages into the models of a layout: `ensemble`, `bls` or `fused`.

A model that joins stages keeps their folders inside its own, so that a published pipeline can be
changed to another layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from boxwise_contract.options import OPTIONS
from boxwise_contract.tensors import DETECTIONS, FRAME, IMAGE, TensorSpec, label_tensors, raw_model
from boxwise_export.repository.configs import Template, model_py
from boxwise_export.repository.manifest import Revision
from boxwise_export.repository.serving_config import NETWORKS, Layout, ServingConfig
from boxwise_export.repository.versions import Content, ModelFolder, content_of, version_files
from boxwise_runtime.request_queue import QUEUE_PARAMETERS, QueueLimits
from boxwise_runtime.stages import CANDIDATES, LABELS
from boxwise_runtime.targets import TARGETS

# Rows of one run on the CPU: few enough that their activations stay in a core's caches.
# EfficientNet-Lite0 takes 5.5 ms a row in runs of 2 or 3, 5.6 with 4, 5.8 with 5, 6.6 with 16 and
# 7.3 with 32. Fewer cost small networks more, since each run has a fixed cost.
CHUNK = 4

Step = tuple[str, Mapping[str, str], Mapping[str, str]]  # of an ensemble: model, inputs, outputs
# By stage: "preprocess", "classifier_vehicle", "info".
Stages = Mapping[str, ModelFolder]
# The next models, given the versions of those before: a caller names the version that it calls.
Layer = Callable[[Mapping[str, int]], Sequence[ModelFolder]]


def layers(pipeline: str, stages: Stages, serving: ServingConfig) -> list[Layer]:
    """Return the models to publish, callees before callers; `serving` is settled."""
    stages = {name: with_serving(name, folder, serving) for name, folder in stages.items()}
    outline = _Outline.read(pipeline, stages)
    kept: dict[Layout, list[str]] = {
        "ensemble": list(stages),
        "bls": [name for name in stages if name.startswith((*NETWORKS, "info"))],
        "fused": ["info"],
    }

    def whole(versions: Mapping[str, int]) -> list[ModelFolder]:
        """Return the model that takes files."""
        if serving.layout == "ensemble":
            model = _ensemble(outline, versions, raw=False)
        else:
            model = _joined(outline, stages, serving, versions)
        return [_remembering(model) if serving.response_cache else model]

    def raw(versions: Mapping[str, int]) -> list[ModelFolder]:
        """Return the model that takes frames."""
        if serving.layout == "ensemble":
            return [_ensemble(outline, versions, raw=True)]
        return [_raw(outline, versions)]

    return [lambda _: [stages[name] for name in kept[serving.layout]], whole, raw]


def stage_folders(repository: Path, pipeline: str, versions: Mapping[str, int]) -> dict[str, Path]:
    """Return the folders of a published pipeline's stages, in any layout.

    Args:
        repository: that holds it.
        pipeline: its name.
        versions: of its models, from the revision.
    """
    folders: dict[str, Path] = {}
    for model, version in versions.items():
        name, folder = model.removeprefix(f"{pipeline}_"), repository / model / str(version)
        folders |= {inner.name: inner for inner in sorted(folder.glob("stages/*"))}
        if name not in (pipeline, "raw"):
            folders[name] = folder
    return folders


def read_stages(repository: Path, pipeline: str, revision: Revision) -> Stages:
    """Read the stages of a revision: the published files, and no others."""
    published = {
        repository / model / str(revision.models[model]) / file
        for model, digests in revision.digests.items()
        for file in digests
    }
    stages = {}
    for name, folder in stage_folders(repository, pipeline, revision.models).items():
        files = {
            str(path.relative_to(folder)): path
            for path in sorted(published)
            if path.is_relative_to(folder)
        }
        configs = {
            at: files.pop(at).read_text(encoding="utf-8")
            for at in list(files)
            if at.endswith(".pbtxt")
        }
        stages[name] = ModelFolder(f"{pipeline}_{name}", configs, files)
    return stages


def _first(stages: Stages) -> Template:
    """Return the configuration of the stage that reads requests."""
    return Template.read(
        stages["preprocess" if "preprocess" in stages else "whole_picture"].configs["config.pbtxt"]
    )


def with_serving(name: str, folder: ModelFolder, serving: ServingConfig) -> ModelFolder:
    """Return a stage with its share of the serving settings."""
    configs = {}
    for path, text in folder.configs.items():
        template = Template.read(text)
        config = template.copy()
        if config.backend == "python" and not serving.by_cores:
            config.instance_group[0].ClearField("name")
            if name in serving.instances:
                config.instance_group[0].count = serving.instances[name]
        for key, value in _settings(name, serving).items():
            if value is not None and key in config.parameters:
                config.parameters[key].string_value = str(value)
        if config.HasField("dynamic_batching"):
            if serving.queue_delay_us is not None:
                config.dynamic_batching.max_queue_delay_microseconds = serving.queue_delay_us
            if serving.max_batch_size is not None and name == "detector":
                config.max_batch_size = serving.max_batch_size
        configs[path] = template.render(config)
    return ModelFolder(folder.name, configs, folder.files)


def _settings(name: str, serving: ServingConfig) -> dict[str, int | None]:
    """Return the parameters of a stage that `serving` sets."""
    # In `bls`, requests were queued before they reach a network, and `in_flight` limits how many
    # there are.
    limits = QueueLimits() if serving.layout == "bls" and name.startswith(NETWORKS) else serving
    return {
        "threads": serving.threads,
        "max_queue": limits.max_queue,
        "max_wait_ms": limits.max_wait_ms,
    }


@dataclass(frozen=True)
class _Outline:
    """What the wiring of a pipeline depends on.

    Attributes:
        pipeline: its name.
        detects: whether it has a detector.
        top_k: for each classifier.
    """

    pipeline: str
    detects: bool
    top_k: Mapping[str, int]

    @classmethod
    def read(cls, pipeline: str, stages: Stages) -> _Outline:
        document = json.loads(content_of(stages["info"].files["info.json"]))
        return cls(
            pipeline,
            document["detector"] is not None,
            {classifier["name"]: classifier["top_k"] for classifier in document["classifiers"]},
        )

    @property
    def outputs(self) -> list[TensorSpec]:
        """The outputs of the contract."""
        labels = (label_tensors(name, top_k) for name, top_k in self.top_k.items())
        return [*DETECTIONS, *chain.from_iterable(labels)]

    @property
    def networks(self) -> list[str]:
        return [
            *(["detector"] if self.detects else []),
            *(f"classifier_{name}" for name in self.top_k),
        ]


def _joined(
    outline: _Outline, stages: Stages, serving: ServingConfig, versions: Mapping[str, int]
) -> ModelFolder:
    """Build the one model of the layouts `fused` and `bls`."""
    own = Template.load(serving.layout)
    template = _with_fields(own.with_tensors(outputs=outline.outputs), outline, stages)
    base = template.copy(outline.pipeline)
    base.instance_group[0].CopyFrom(_first(stages).config.instance_group[0])
    if not serving.by_cores:
        base.instance_group[0].count = serving.instances[serving.layout]
    template = replace(template, config=base)
    values: dict[str, Any] = {
        "max_queue": serving.max_queue,
        "max_wait_ms": serving.max_wait_ms,
        **{f"top_k.{classifier}": top_k for classifier, top_k in outline.top_k.items()},
    }
    if serving.layout == "fused":
        values |= {"threads": serving.threads, "chunk": CHUNK}
        inside = stages
        of_targets = {target.config: values for target in TARGETS.values() if target.joins_networks}
    else:
        models = {network: stages[network].name for network in outline.networks}
        values |= {f"models.{network}": model for network, model in models.items()}
        values |= {f"versions.{network}": versions[model] for network, model in models.items()}
        inside = {name: stage for name, stage in stages.items() if name not in models}
        of_targets = {
            target.config: values | {"in_flight": serving.in_flight or target.in_flight}
            for target in TARGETS.values()
        }
    configs = {}
    for path, parameters in of_targets.items():
        config = template.copy()
        aliases = _set(config, own, parameters)
        configs[path] = template.render(config, aliases)
    files = {"model.py": model_py(serving.layout), **_packed(inside)}
    return ModelFolder(base.name, configs, files)


def _with_fields(template: Template, outline: _Outline, stages: Stages) -> Template:
    """Add the inputs of the stage that reads requests, and the fields of the joined stages as
    parameters, to the template of a joined model.
    """
    config, comments = template.copy(), dict(template.comments)
    first = _first(stages)
    config.input.extend(first.config.input)
    comments |= {key: text for key, text in first.comments.items() if key[0] == "input"}
    parts = (
        {"preprocess": "preprocess", "objects": "nms"}
        if outline.detects
        else {"objects": "whole_picture"}
    )
    for part, stage in parts.items():
        own = Template.read(stages[stage].configs["config.pbtxt"])
        for key in sorted(set(own.config.parameters) - set(QUEUE_PARAMETERS)):
            config.parameters[f"{part}.{key}"].CopyFrom(own.config.parameters[key])
            comments["parameters", f"{part}.{key}"] = own.comments.get(("parameters", key), "")
    return Template(config, template.header, comments)


def _set(config: Any, own: Template, values: Mapping[str, Any]) -> dict[str, str]:
    """Set a joined model's parameters in place of those of its own template; returns new name ->
    template's name.
    """
    known = set(own.config.parameters)
    for key in known:
        del config.parameters[key]
    aliases = {}
    for key, value in values.items():
        config.parameters[key].string_value = str(value)
        if key not in known:
            kind = "detector" if key.endswith(".detector") else "classifier"
            aliases[key] = f"{key.partition('.')[0]}.{kind}"
    return aliases


def _packed(stages: Stages) -> dict[str, Content]:
    """Return the files of the joined stages, by their path in the joined model."""
    return {
        f"stages/{name}/{path}": content
        for name, folder in stages.items()
        if name != "info"
        for path, content in version_files(folder).items()
    }


def _ensemble(outline: _Outline, versions: Mapping[str, int], *, raw: bool) -> ModelFolder:
    """Wire the stages by their versions, so that no response mixes two."""
    return _wired(outline, versions, _steps(outline, raw=raw), raw=raw)


def _raw(outline: _Outline, versions: Mapping[str, int]) -> ModelFolder:
    """Build the model that takes frames and forwards them to the joined model.

    Files are not forwarded like this: Triton 2.51 does not tell a step of an ensemble that its
    request was cancelled.
    """
    step = (outline.pipeline, _request(raw=True), _same(outline.outputs))
    return _wired(outline, versions, [step], raw=True)


def _wired(
    outline: _Outline, versions: Mapping[str, int], steps: Iterable[Step], *, raw: bool
) -> ModelFolder:
    template = Template.load("ensemble").with_tensors(
        [FRAME if raw else IMAGE, *OPTIONS], outline.outputs
    )
    config = template.copy(raw_model(outline.pipeline) if raw else outline.pipeline)
    for model, inputs, outputs in steps:
        config.ensemble_scheduling.step.add(
            model_name=model, model_version=versions[model], input_map=inputs, output_map=outputs
        )
    return ModelFolder(config.name, {"config.pbtxt": template.render(config)}, {})


def _remembering(folder: ModelFolder) -> ModelFolder:
    """Switch the response cache on for the model that takes files."""
    why = "# A request with the same bytes is answered from memory, if the server has some for it."
    configs = {}
    for path, text in folder.configs.items():
        template = Template.read(text)
        config = template.copy()
        config.response_cache.enable = True
        explained = Template(
            config, template.header, {**template.comments, ("response_cache", ""): why}
        )
        configs[path] = explained.render(config)
    return replace(folder, configs=configs)


def _request(*, raw: bool) -> dict[str, str]:
    return ({"raw_frame": "frame"} if raw else {"image": "image"}) | _same(OPTIONS)


def _steps(outline: _Outline, *, raw: bool) -> Iterator[Step]:
    """Yield the steps of the ensemble: model, inputs and outputs, by the stage's names of the
    tensors and the ensemble's.
    """
    request, prefix, names = _request(raw=raw), f"{outline.pipeline}_", list(outline.top_k)
    crops = _same(f"{name}_{part}" for name in names for part in ("crops", "rows"))
    rows = _same(("rows",)) if names else {}
    if outline.detects:
        middle = _same(("geometry", "thresholds")) | {"class_filter": "classes_kept"}
        candidates = _same(CANDIDATES)
        frame = _same(("frame",)) if names else {}
        yield (
            prefix + "preprocess",
            request,
            middle | {"canvas": "canvas"} | ({} if raw else frame),
        )
        yield (prefix + "detector", {"canvas": "canvas"}, candidates)
        yield (prefix + "nms", candidates | middle | frame, _same(DETECTIONS) | rows | crops)
    else:
        yield (prefix + "whole_picture", request, _same(DETECTIONS) | rows | crops)
    for name in names:
        yield (
            f"{prefix}classifier_{name}",
            {"crops": f"{name}_crops"},
            {part: f"{name}_{part}" for part in LABELS},
        )
    if names:
        said = _same(f"{name}_{part}" for name in names for part in ("rows", *LABELS))
        outputs = _same(f"{name}_{part}" for name in names for part in ("ids", "scores"))
        yield (prefix + "assemble", rows | said, outputs)


def _same(tensors: Iterable[TensorSpec | str]) -> dict[str, str]:
    """Map tensors that have one name in the stage and in the ensemble."""
    names = [each if isinstance(each, str) else each.name for each in tensors]
    return dict(zip(names, names, strict=True))
