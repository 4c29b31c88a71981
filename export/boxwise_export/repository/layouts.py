"""How a pipeline's stages become the models that are served: each by itself, bls around the
networks, or fused.

The stages are built once (`repository.py`). A layout that joins some of them keeps their folders in
its own, so that what was published in one layout can be laid out in another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from boxwise_export.repository.configs import (
    Template,
    model_py,
    per_classifier,
    read_config,
    remove,
)
from boxwise_export.repository.manifest import Revision
from boxwise_export.repository.serving_config import IN_FLIGHT, Layout, ServingConfig
from boxwise_export.repository.versions import ModelFolder, config_files, version_files
from boxwise_runtime.fitting import BY_CORES
from boxwise_runtime.request_queue import QUEUE_LIMITS, QUEUE_PARAMETERS, QueueLimits
from boxwise_runtime.targets import config_path

OPTIONS = ("score_threshold", "iou_threshold", "max_detections", "class_filter")
DETECTIONS = ("boxes", "scores", "class_ids", "image_size")
LABELS = ("label_ids", "label_scores")
CANDIDATES = ("candidate_boxes", "candidate_scores", "candidate_classes")
# Rows of one run on the CPU: few enough that their activations stay in a core's caches.
# EfficientNet-Lite0 takes 5.5 ms a row in runs of 2 or 3, 5.6 of 4, 5.8 of 5, 6.6 of 16 and 7.3 of
# 32; of small networks, a run has its own cost too.
CHUNK = 4

Step = tuple[str, Mapping[str, str], Mapping[str, str]]  # of an ensemble: model, inputs, outputs
# By what follows the pipeline's name: "preprocess", "classifier_vehicle", "info".
Stages = Mapping[str, ModelFolder]
_NETWORKS = ("detector", "classifier_")
# The next models, given the versions of those before: what calls a model names its version.
Layer = Callable[[Mapping[str, int]], Sequence[ModelFolder]]


def layers(pipeline: str, stages: Stages, serving: ServingConfig) -> list[Layer]:
    """What is to be published, in the order in which versions are given."""
    serving = _with_limits(serving, stages)
    stages = {name: with_serving(name, folder, serving) for name, folder in stages.items()}
    outline = _Outline.read(pipeline, stages)
    kept: dict[Layout, list[str]] = {
        "ensemble": list(stages),
        "bls": [name for name in stages if name.startswith((*_NETWORKS, "info"))],
        "fused": ["info"],
    }

    def whole(versions: Mapping[str, int]) -> list[ModelFolder]:
        """The model that files are sent to."""
        if serving.layout == "ensemble":
            model = _ensemble(outline, versions, raw=False)
        else:
            model = _joined(outline, stages, serving, versions)
        return [_remembering(model) if serving.response_cache else model]

    def raw(versions: Mapping[str, int]) -> list[ModelFolder]:
        """The model that frames are sent to."""
        if serving.layout == "ensemble":
            return [_ensemble(outline, versions, raw=True)]
        return [_raw(outline, versions)]

    return [lambda _: [stages[name] for name in kept[serving.layout]], whole, raw]


def stage_folders(repository: Path, pipeline: str, versions: Mapping[str, int]) -> dict[str, Path]:
    """Where the stages of a pipeline lie that was published, in whatever layout.

    Args:
        repository: where.
        pipeline: its name.
        versions: of its models, as the revision has them.
    """
    folders: dict[str, Path] = {}
    for model, version in versions.items():
        name, folder = model.removeprefix(f"{pipeline}_"), repository / model / str(version)
        folders |= {inner.name: inner for inner in sorted(folder.glob("stages/*"))}
        if name not in (pipeline, "raw"):
            folders[name] = folder
    return folders


def read_stages(repository: Path, pipeline: str, revision: Revision) -> Stages:
    """The stages of a pipeline as a revision of it has them: the files that were published, and no
    others.
    """
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
            at: path.read_text(encoding="utf-8")
            for at, path in files.items()
            if at.endswith(".pbtxt")
        }
        contents = {at: path.read_bytes() for at, path in files.items() if at not in configs}
        stages[name] = ModelFolder(f"{pipeline}_{name}", configs, contents)
    return stages


def read_serving_config(
    repository: Path, pipeline: str, versions: Mapping[str, int]
) -> ServingConfig:
    """How a pipeline that was published is laid out; the arguments are those of `stage_folders`.

    `instances` has the models that run in the Python backend, the information apart.
    """
    folders = stage_folders(repository, pipeline, versions)
    configs = {name: read_config(folder / "config.pbtxt") for name, folder in folders.items()}
    joined, *of_targets = map(
        read_config, config_files(repository / pipeline / str(versions[pipeline]))
    )
    layout: Layout = "ensemble"
    instances = {
        name: config.instance_group[0].count for name, config in configs.items() if name != "info"
    }
    if not joined.platform:
        layout = "bls" if "in_flight" in joined.parameters else "fused"
        own = {layout: joined.instance_group[0].count}
        instances = own | {
            name: n for name, n in instances.items() if f"{pipeline}_{name}" in versions
        }
    batching = [
        config
        for folder in folders.values()
        for path in sorted(folder.glob("configs/*.pbtxt"))
        if (config := read_config(path)).HasField("dynamic_batching")
    ]
    in_flight = {
        each.parameters["in_flight"].string_value
        for each in (joined, *of_targets)
        if "in_flight" in each.parameters
    }

    def number(key: str) -> int | None:
        """Of a parameter that all who have it have alike, or else the first,
        which callers come to.
        """
        texts = (
            each.parameters[key].string_value
            for each in (joined, *configs.values())
            if key in each.parameters
        )
        return next((int(text) for text in texts), None)

    return ServingConfig(
        layout,
        instances,
        threads=number("threads"),
        in_flight=int(in_flight.pop()) if len(in_flight) == 1 else None,
        queue_delay_us=batching[0].dynamic_batching.max_queue_delay_microseconds
        if batching
        else None,
        max_batch_size=batching[0].max_batch_size if batching else None,
        max_queue=number("max_queue"),
        max_wait_ms=number("max_wait_ms"),
        response_cache=joined.response_cache.enable,
        by_cores=any(
            group.name == BY_CORES
            for config in (joined, *configs.values())
            for group in config.instance_group
        ),
    )


def _first(stages: Stages) -> Template:
    """The stage that callers come to."""
    return Template.read(
        stages["preprocess" if "preprocess" in stages else "whole_picture"].configs["config.pbtxt"]
    )


def _with_limits(serving: ServingConfig, stages: Stages) -> ServingConfig:
    """Limits that are not given are those of the stage that callers come to: networks may have
    others (`bls`).
    """
    had = _first(stages).config.parameters

    def limit(key: str) -> int | None:
        given: int | None = getattr(serving, key)
        return int(had[key].string_value) if given is None and key in had else given

    return replace(serving, max_queue=limit("max_queue"), max_wait_ms=limit("max_wait_ms"))


def with_serving(name: str, folder: ModelFolder, serving: ServingConfig) -> ModelFolder:
    """A stage with its share of a serving configuration."""
    configs = {}
    for path, text in folder.configs.items():
        template = Template.read(text)
        config = template.copy()
        if config.backend == "python" and not serving.by_cores:
            config.instance_group[0].ClearField("name")
            config.instance_group[0].count = serving.instances.get(
                name, config.instance_group[0].count
            )
        if serving.threads is not None and "threads" in config.parameters:
            config.parameters["threads"].string_value = str(serving.threads)
        # Whoever asks the networks of `bls` has waited already, and its `in_flight` bounds how
        # many they are.
        limits = (
            QueueLimits() if serving.layout == "bls" and name.startswith(_NETWORKS) else serving
        )
        for limit in QUEUE_LIMITS:
            if (value := getattr(limits, limit)) is not None and limit in config.parameters:
                config.parameters[limit].string_value = str(value)
        if serving.queue_delay_us is not None and config.HasField("dynamic_batching"):
            config.dynamic_batching.max_queue_delay_microseconds = serving.queue_delay_us
        if (
            serving.max_batch_size is not None
            and name == "detector"
            and config.HasField("dynamic_batching")
        ):
            config.max_batch_size = serving.max_batch_size
        configs[path] = template.render(config)
    return ModelFolder(folder.name, configs, folder.files)


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
        document = json.loads(stages["info"].files["info.json"])
        return cls(
            pipeline,
            document["detector"] is not None,
            {classifier["name"]: classifier["top_k"] for classifier in document["classifiers"]},
        )

    @property
    def networks(self) -> list[str]:
        return [
            *(["detector"] if self.detects else []),
            *(f"classifier_{name}" for name in self.top_k),
        ]


def _joined(
    outline: _Outline, stages: Stages, serving: ServingConfig, versions: Mapping[str, int]
) -> ModelFolder:
    """The one model of the layouts `fused` and `bls`:
    requests of the contract in, replies out.
    """
    layout = serving.layout
    template = Template.load(layout)
    config = template.copy(outline.pipeline)
    comments = dict(template.comments)
    first = _first(stages)
    public = Template.load("ensemble")
    config.input.extend(first.config.input)
    config.output.extend(public.config.output)
    aliases = per_classifier(config.output, outline.top_k)
    comments |= {key: text for key, text in public.comments.items() if key[0] == "output"}
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

    # As many processes as the stage has that decodes.
    config.instance_group[0].CopyFrom(first.config.instance_group[0])
    if not serving.by_cores:
        config.instance_group[0].count = serving.instances.get(
            layout, first.config.instance_group[0].count
        )
    # Where the stages were published before they had any.
    values: dict[str, Any] = asdict(QueueLimits())
    values |= {
        key: first.config.parameters[key].string_value
        for key in QUEUE_LIMITS
        if key in first.config.parameters
    }
    values |= {f"top_k.{classifier}": top_k for classifier, top_k in outline.top_k.items()}
    if layout == "fused":
        of_network = Template.read(
            stages[outline.networks[0]].configs["config.pbtxt"]
        ).config.parameters
        values |= {"threads": of_network["threads"].string_value, "chunk": CHUNK}
        files = _packed(stages)
    else:
        models = {network: stages[network].name for network in outline.networks}
        values |= {f"models.{network}": model for network, model in models.items()}
        values |= {f"versions.{network}": versions[model] for network, model in models.items()}
        files = _packed(
            {stage: folder for stage, folder in stages.items() if stage not in outline.networks}
        )
    for key in template.config.parameters:
        del config.parameters[key]
    for key, value in values.items():
        config.parameters[key].string_value = str(value)
        group = key.partition(".")[0]
        if key not in template.config.parameters:
            kind = "detector" if key.endswith(".detector") else "classifier"
            aliases[key] = f"{group}.{kind}"
    filled, configs = Template(config, template.header, comments), {}
    if layout == "fused":
        configs["config.pbtxt"] = filled.render(config, aliases)
    else:
        for target, usual in IN_FLIGHT.items():
            config.parameters["in_flight"].string_value = str(serving.in_flight or usual)
            configs[config_path(target)] = filled.render(config, aliases)
    return ModelFolder(config.name, configs, {"model.py": model_py(layout), **files})


def _packed(stages: Stages) -> dict[str, bytes]:
    """The folders of stages inside the version of the model that joins them."""
    return {
        f"stages/{name}/{path}": content
        for name, folder in stages.items()
        if name != "info"
        for path, content in version_files(folder).items()
    }


def _ensemble(outline: _Outline, versions: Mapping[str, int], *, raw: bool) -> ModelFolder:
    """The wiring of the stages; it names each in its version, so that no reply mixes two."""
    return _wired(outline, versions, _steps(outline, raw=raw), raw=raw)


def _raw(outline: _Outline, versions: Mapping[str, int]) -> ModelFolder:
    """The one model once more, by the name that clients send frames to.

    Files go to the model itself and not through an ensemble: Triton 2.51 does not tell a step that
    is under way that its caller is gone.
    """
    labels = (f"{name}_{part}" for name in outline.top_k for part in ("ids", "scores"))
    step = (outline.pipeline, _request(raw=True), _same((*DETECTIONS, *labels)))
    return _wired(outline, versions, [step], raw=True)


def _wired(
    outline: _Outline, versions: Mapping[str, int], steps: Iterable[Step], *, raw: bool
) -> ModelFolder:
    template = Template.load("ensemble")
    config = template.copy(outline.pipeline + ("_raw" if raw else ""))
    remove(config.input, "image" if raw else "frame")
    aliases = per_classifier(config.output, outline.top_k)
    for model, inputs, outputs in steps:
        config.ensemble_scheduling.step.add(
            model_name=model, model_version=versions[model], input_map=inputs, output_map=outputs
        )
    return ModelFolder(config.name, {"config.pbtxt": template.render(config, aliases)}, {})


def _remembering(folder: ModelFolder) -> ModelFolder:
    """The model that files are sent to, with a response cache."""
    why = (
        "# A request that comes again, to the byte, is answered from memory: where the server "
        "has some for it."
    )
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
    """The wiring, tensor by tensor: where a stage's name for a tensor differs from the ensemble's,
    both are said.
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


def _same(names: Iterable[str]) -> dict[str, str]:
    """Tensors that the stage and the ensemble call the same."""
    return {name: name for name in names}
