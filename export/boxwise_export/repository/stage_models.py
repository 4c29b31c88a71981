"""Build the stages of a plan, each the folder of a Triton model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from boxwise_contract.options import OPTIONS, Thresholds
from boxwise_contract.tensors import DETECTIONS, VERSION
from boxwise_export.graphs.large_models import serialized
from boxwise_export.plan import ClassifierPlan, DetectorPlan, Plan
from boxwise_export.repository.atomic_dir import write_file
from boxwise_export.repository.configs import (
    Template,
    model_py,
    per_classifier,
    remove,
    set_parameters,
    set_shape,
)
from boxwise_export.repository.layouts import CHUNK, Stages
from boxwise_export.repository.versions import Content, ModelFolder, content_of
from boxwise_runtime import warmup
from boxwise_runtime.fitting import BY_CORES
from boxwise_runtime.request_queue import QueueLimits
from boxwise_runtime.targets import TARGETS


def write_stages(plan: Plan, folder: Path) -> Stages:
    """Write every stage of a pipeline, its info included, into `folder`."""
    stages: dict[str, ModelFolder] = {}
    for name, stage in _build(plan).items():
        files = {path: folder / name / path for path in stage.files}
        for path, content in stage.files.items():
            write_file(files[path], content_of(content))
        stages[name] = replace(stage, files=files)
    return stages


def _build(plan: Plan) -> Stages:
    folders: list[ModelFolder] = []
    if plan.detector:
        folders += [
            _preprocess(plan, plan.detector),
            _detector(plan, plan.detector),
            _nms(plan, plan.detector),
        ]
    else:
        folders.append(_whole_picture(plan))
    folders += [_classifier(plan, classifier) for classifier in plan.classifiers]
    if plan.classifiers:
        folders.append(_assemble(plan))
    digests = {
        folder.name: hashlib.sha256(content_of(folder.files["model.onnx"])).hexdigest()
        for folder in folders
        if "model.onnx" in folder.files
    }
    return {
        folder.name.removeprefix(f"{plan.name}_"): folder
        for folder in [*folders, _info(plan, digests)]
    }


def information(plan: Plan, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the document that `<pipeline>_info` returns."""
    detector = plan.detector
    return {
        "contract": VERSION,
        "pipeline": plan.name,
        "boxwise": version("boxwise"),
        "detector": detector
        and {
            "family": detector.family,
            "labels": detector.labels,
            "score_threshold": detector.spec.score_threshold,
            "iou_threshold": detector.spec.iou_threshold,
            "max_detections": detector.spec.max_detections,
        },
        "classifiers": [
            {
                "name": classifier.spec.name,
                "labels": classifier.labels,
                "top_k": classifier.top_k,
                "only": classifier.only or None,
            }
            for classifier in plan.classifiers
        ],
        "limits": {**asdict(plan.limits), "max_detections": plan.max_detections},
        "digests": digests,
    }


def _preprocess(plan: Plan, detector: DetectorPlan) -> ModelFolder:
    template = Template.load("preprocess").with_tensors(OPTIONS)
    config = template.copy(f"{plan.name}_preprocess")
    canvas = detector.canvas
    set_shape(config.output, "canvas", (1, canvas.height, canvas.width, 3))
    set_shape(config.output, "thresholds", Thresholds.shape())
    _set_instances(config, plan)
    set_parameters(
        config,
        {
            "canvas_height": canvas.height,
            "canvas_width": canvas.width,
            "resize": canvas.resize,
            "pad_value": canvas.pad_value,
            "interpolation": canvas.interpolation,
            "color_order": canvas.color_order,
            "class_count": len(detector.labels),
            "score_threshold": detector.spec.score_threshold,
            "iou_threshold": detector.spec.iou_threshold,
            "max_detections": detector.spec.max_detections,
            "scaled_decoding": detector.spec.canvas.scaled_decoding,
            **asdict(plan.limits),
            **_waiting(plan),
        },
    )
    return _folder(
        "preprocess", config.name, {"config.pbtxt": template.render(config)}, _image(plan)
    )


def _whole_picture(plan: Plan) -> ModelFolder:
    template = Template.load("whole_picture").with_tensors(OPTIONS, DETECTIONS)
    config = template.copy(f"{plan.name}_whole_picture")
    _set_instances(config, plan)
    aliases = _crops(config, plan)
    set_parameters(config, {**asdict(plan.limits), **_waiting(plan), "crops": _crop_fields(plan)})
    return _folder(
        "whole_picture",
        config.name,
        {"config.pbtxt": template.render(config, aliases)},
        _image(plan),
    )


def _set_instances(config: Any, plan: Plan) -> None:
    """Set one instance per core: of this machine, or of the machine that serves."""
    group = config.instance_group[0]
    group.count = plan.instances
    if plan.serving.by_cores:
        group.name = BY_CORES


def _waiting(plan: Plan) -> dict[str, Any]:
    """Return the queue parameters of the first stage."""
    networks = ["detector"] if plan.detector else []
    networks += [f"classifier_{classifier.spec.name}" for classifier in plan.classifiers]
    return {
        **asdict(QueueLimits()),
        "downstream": [f"{plan.name}_{network}" for network in networks],
    }


def _detector(plan: Plan, detector: DetectorPlan) -> ModelFolder:
    shapes = {
        "canvas": (detector.canvas.height, detector.canvas.width, 3),
        "candidate_boxes": (detector.candidates, 4),
        "candidate_scores": (detector.candidates,),
        "candidate_classes": (detector.candidates,),
    }
    return _model(plan, "detector", f"{plan.name}_detector", shapes, detector)


def _classifier(plan: Plan, classifier: ClassifierPlan) -> ModelFolder:
    shapes = {
        "crops": (classifier.crop.height, classifier.crop.width, 3),
        "label_ids": (classifier.top_k,),
        "label_scores": (classifier.top_k,),
    }
    return _model(
        plan, "classifier", f"{plan.name}_classifier_{classifier.spec.name}", shapes, classifier
    )


def _model(
    plan: Plan,
    stage: str,
    name: str,
    shapes: Mapping[str, tuple[int, ...]],
    model: DetectorPlan | ClassifierPlan,
) -> ModelFolder:
    """Build a network's model, with a configuration for every target."""
    texts = {}
    for target in TARGETS.values():
        template = Template.load(stage, target.config)
        config = template.copy(name)
        config.max_batch_size = model.max_batch_size
        for tensors in (config.input, config.output):
            for tensor in tensors:
                set_shape(tensors, tensor.name, shapes[tensor.name])
        for sample in config.model_warmup:
            for tensor, value in sample.inputs.items():
                value.dims[:] = shapes[tensor]
        if config.backend == "python":
            _set_instances(config, plan)
            run = {"threads": plan.threads, "chunk": min(CHUNK, model.max_batch_size)}
            set_parameters(config, {**run, **asdict(QueueLimits())})
        texts[target.config] = template.render(config)
    return _folder(stage, name, texts, {"model.onnx": serialized(model.graph)})


def _nms(plan: Plan, detector: DetectorPlan) -> ModelFolder:
    template = Template.load("nms").with_tensors(outputs=DETECTIONS)
    config = template.copy(f"{plan.name}_nms")
    set_shape(config.input, "thresholds", Thresholds.shape())
    set_shape(config.input, "candidate_boxes", (1, detector.candidates, 4))
    set_shape(config.input, "candidate_scores", (1, detector.candidates))
    set_shape(config.input, "candidate_classes", (1, detector.candidates))
    if plan.classifiers:
        _set_instances(config, plan)
    else:
        remove(config.input, "frame")
        remove(config.output, "rows")
    aliases = _crops(config, plan)
    settings = {"nms": detector.reading.nms, "class_agnostic": detector.spec.nms.class_agnostic}
    set_parameters(config, settings | {"crops": _crop_fields(plan)})
    return _folder("nms", config.name, {"config.pbtxt": template.render(config, aliases)})


def _assemble(plan: Plan) -> ModelFolder:
    template = Template.load("assemble")
    config = template.copy(f"{plan.name}_assemble")
    top_k = {classifier.spec.name: classifier.top_k for classifier in plan.classifiers}
    aliases = {**per_classifier(config.input, top_k), **per_classifier(config.output, top_k)}
    set_parameters(
        config, {"classifiers": [classifier.spec.name for classifier in plan.classifiers]}
    )
    return _folder("assemble", config.name, {"config.pbtxt": template.render(config, aliases)})


def _info(plan: Plan, digests: Mapping[str, str]) -> ModelFolder:
    template = Template.load("info")
    config = template.copy(f"{plan.name}_info")
    document = json.dumps(information(plan, digests), ensure_ascii=False)
    return _folder(
        "info",
        config.name,
        {"config.pbtxt": template.render(config)},
        {"info.json": document.encode()},
    )


def _image(plan: Plan) -> dict[str, bytes]:
    """Return the warm-up image of the stage that decodes."""
    return {warmup.IMAGE: plan.warmup_image} if plan.warmup_image else {}


def _crops(config: Any, plan: Plan) -> dict[str, str]:
    """Repeat the template's outputs and parameters of crops for each classifier; return their
    aliases.
    """
    top_k = {classifier.spec.name: classifier.top_k for classifier in plan.classifiers}
    aliases = per_classifier(config.output, top_k)
    prefix = "crops.classifier."
    templates = [key for key in config.parameters if key.startswith(prefix)]
    for classifier in plan.classifiers:
        name, crop = classifier.spec.name, classifier.crop
        set_shape(config.output, f"{name}_crops", (-1, crop.height, crop.width, 3))
        for key in templates:
            own = f"crops.{name}.{key.removeprefix(prefix)}"
            config.parameters[own].CopyFrom(config.parameters[key])
            aliases[own] = key
    for key in templates:
        if key not in aliases:  # a classifier may be named "classifier"
            del config.parameters[key]
    return aliases


def _crop_fields(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the fields of each classifier's `stages.Crop`."""
    return {
        classifier.spec.name: {**asdict(classifier.crop), "only": classifier.only}
        for classifier in plan.classifiers
    }


def _folder(
    stage: str, name: str, configs: Mapping[str, str], files: Mapping[str, Content] | None = None
) -> ModelFolder:
    """Return a stage's folder: configurations, model.py, and the other files of its version."""
    return ModelFolder(name, configs, {"model.py": model_py(stage), **(files or {})})
