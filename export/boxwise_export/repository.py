"""A plan becomes the folders of a Triton model repository."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from boxwise_export.configs import Template, remove, set_parameters, set_shape, templates_folder
from boxwise_export.graph.light import serialized
from boxwise_export.plan import ClassifierPlan, DetectorPlan, Plan
from boxwise_export.versions import ModelFolder

CONTRACT_VERSION = 1
TARGETS = ("onnxruntime", "tensorrt")
OPTIONS = ("score_threshold", "iou_threshold", "max_detections", "class_filter")
DETECTIONS = ("boxes", "scores", "class_ids", "image_size")
LABELS = ("label_ids", "label_scores")
# Rows of one run on the CPU. More gain nothing there, and 1,000 crops at once would take gigabytes of activations.
_CHUNK = 16


def build_stages(plan: Plan) -> list[ModelFolder]:
    """Make every model of a pipeline that runs: its stages and its information."""
    folders: list[ModelFolder] = []
    if plan.detector:
        folders += [_preprocess(plan, plan.detector), _detector(plan, plan.detector), _nms(plan, plan.detector)]
    else:
        folders.append(_whole_picture(plan))
    folders += [_classifier(plan, classifier) for classifier in plan.classifiers]
    if plan.classifiers:
        folders.append(_assemble(plan))
    graphs = {folder.name: folder.files["model.onnx"] for folder in folders if "model.onnx" in folder.files}
    digests = {name: hashlib.sha256(graph).hexdigest() for name, graph in graphs.items()}
    return [*folders, _info(plan, digests)]


def build_ensembles(plan: Plan, versions: Mapping[str, int]) -> list[ModelFolder]:
    """Make the two models that wire the stages together, each stage in its version: no reply mixes two."""
    return [_ensemble(plan, versions, raw=False), _ensemble(plan, versions, raw=True)]


def information(plan: Plan, digests: Mapping[str, str]) -> dict[str, Any]:
    """The document that `<pipeline>_info` answers with."""
    detector = plan.detector
    return {
        "contract": CONTRACT_VERSION,
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
        "limits": {"max_pixels": plan.max_pixels, "max_detections": plan.max_detections},
        "digests": digests,
    }


def _preprocess(plan: Plan, detector: DetectorPlan) -> ModelFolder:
    template = Template.load("preprocess")
    config = template.copy(f"{plan.name}_preprocess")
    canvas = detector.canvas
    set_shape(config.output, "canvas", (1, canvas.height, canvas.width, 3))
    config.instance_group[0].count = plan.instances
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
            "max_pixels": plan.max_pixels,
        },
    )
    return _folder("preprocess", config.name, {"config.pbtxt": template.render(config)})


def _whole_picture(plan: Plan) -> ModelFolder:
    template = Template.load("whole_picture")
    config = template.copy(f"{plan.name}_whole_picture")
    config.instance_group[0].count = plan.instances
    aliases = _crops(config, plan)
    set_parameters(config, {"max_pixels": plan.max_pixels, "crops": _crop_fields(plan)})
    return _folder("whole_picture", config.name, {"config.pbtxt": template.render(config, aliases)})


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
    return _model(plan, "classifier", f"{plan.name}_classifier_{classifier.spec.name}", shapes, classifier)


def _model(
    plan: Plan, stage: str, name: str, shapes: Mapping[str, tuple[int, ...]], model: DetectorPlan | ClassifierPlan
) -> ModelFolder:
    """A detector or a classifier, for every target."""
    texts = {}
    for file in ("config.pbtxt", *(f"configs/{target}.pbtxt" for target in TARGETS)):
        template = Template.load(stage, file)
        config = template.copy(name)
        config.max_batch_size = model.max_batch_size
        for tensors in (config.input, config.output):
            for tensor in tensors:
                set_shape(tensors, tensor.name, shapes[tensor.name])
        if config.backend == "python":
            config.instance_group[0].count = plan.instances
            set_parameters(config, {"threads": plan.threads, "chunk": min(_CHUNK, model.max_batch_size)})
        texts[file] = template.render(config)
    return _folder(stage, name, texts, {"model.onnx": serialized(model.graph)})


def _nms(plan: Plan, detector: DetectorPlan) -> ModelFolder:
    template = Template.load("nms")
    config = template.copy(f"{plan.name}_nms")
    set_shape(config.input, "candidate_boxes", (1, detector.candidates, 4))
    set_shape(config.input, "candidate_scores", (1, detector.candidates))
    set_shape(config.input, "candidate_classes", (1, detector.candidates))
    if plan.classifiers:
        config.instance_group[0].count = plan.instances
    else:
        remove(config.input, "frame")
    aliases = _crops(config, plan)
    set_parameters(config, {"nms": detector.reading.nms, "crops": _crop_fields(plan)})
    return _folder("nms", config.name, {"config.pbtxt": template.render(config, aliases)})


def _assemble(plan: Plan) -> ModelFolder:
    template = Template.load("assemble")
    config = template.copy(f"{plan.name}_assemble")
    aliases = {**_per_classifier(config.input, plan), **_per_classifier(config.output, plan)}
    set_parameters(config, {"classifiers": [classifier.spec.name for classifier in plan.classifiers]})
    return _folder("assemble", config.name, {"config.pbtxt": template.render(config, aliases)})


def _info(plan: Plan, digests: Mapping[str, str]) -> ModelFolder:
    template = Template.load("info")
    config = template.copy(f"{plan.name}_info")
    document = json.dumps(information(plan, digests), ensure_ascii=False)
    return _folder("info", config.name, {"config.pbtxt": template.render(config)}, {"info.json": document.encode()})


def _ensemble(plan: Plan, versions: Mapping[str, int], *, raw: bool) -> ModelFolder:
    template = Template.load("ensemble")
    config = template.copy(plan.name + ("_raw" if raw else ""))
    remove(config.input, "image" if raw else "frame")
    aliases = _per_classifier(config.output, plan)
    for model, inputs, outputs in _steps(plan, raw=raw):
        config.ensemble_scheduling.step.add(
            model_name=model, model_version=versions[model], input_map=inputs, output_map=outputs
        )
    return ModelFolder(config.name, {"config.pbtxt": template.render(config, aliases)}, {})


def _steps(plan: Plan, *, raw: bool) -> Iterator[tuple[str, Mapping[str, str], Mapping[str, str]]]:
    """The wiring, tensor by tensor: where a stage's name for a tensor differs from the ensemble's, both are said."""
    image = {"raw_frame": "frame"} if raw else {"image": "image"}
    request = image | _same(OPTIONS)
    names = [classifier.spec.name for classifier in plan.classifiers]
    crops = _same(f"{name}_{part}" for name in names for part in ("crops", "rows"))
    if plan.detector:
        middle = _same(("geometry", "thresholds")) | {"class_filter": "classes_kept"}
        candidates = _same(("candidate_boxes", "candidate_scores", "candidate_classes"))
        frame = _same(("frame",)) if names else {}
        yield (f"{plan.name}_preprocess", request, middle | {"canvas": "canvas"} | ({} if raw else frame))
        yield (f"{plan.name}_detector", {"canvas": "canvas"}, candidates)
        yield (f"{plan.name}_nms", candidates | middle | frame, _same(DETECTIONS) | crops)
    else:
        yield (f"{plan.name}_whole_picture", request, _same(DETECTIONS) | crops)
    for name in names:
        labels = {part: f"{name}_{part}" for part in LABELS}
        yield (f"{plan.name}_classifier_{name}", {"crops": f"{name}_crops"}, labels)
    if names:
        said = _same(f"{name}_{part}" for name in names for part in ("rows", *LABELS))
        outputs = _same(f"{name}_{part}" for name in names for part in ("ids", "scores"))
        yield (f"{plan.name}_assemble", {"class_ids": "class_ids"} | said, outputs)


def _same(names: Iterable[str]) -> dict[str, str]:
    """Tensors that the stage and the ensemble call the same."""
    return {name: name for name in names}


def _crops(config: Any, plan: Plan) -> dict[str, str]:
    """Repeat the template's outputs and parameters of a classifier's crops for each; returns their aliases."""
    aliases = _per_classifier(config.output, plan)
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
        if key not in aliases:  # it is, where a classifier is named "classifier"
            del config.parameters[key]
    return aliases


def _crop_fields(plan: Plan) -> dict[str, dict[str, Any]]:
    """The fields of each classifier's `stages.Crop`."""
    return {
        classifier.spec.name: {**asdict(classifier.crop), "only": classifier.only} for classifier in plan.classifiers
    }


def _per_classifier(tensors: Any, plan: Plan) -> dict[str, str]:
    """Repeat the template's `classifier_...` tensors for each classifier; returns new name -> template's name."""
    templates = [tensor for tensor in tensors if tensor.name.startswith("classifier_")]
    kept = [tensor for tensor in tensors if not tensor.name.startswith("classifier_")]
    made, aliases = [], {}
    for classifier in plan.classifiers:
        for template in templates:
            tensor = type(template)()
            tensor.CopyFrom(template)
            tensor.name = classifier.spec.name + template.name.removeprefix("classifier")
            if tensor.dims[-1] == 0:
                tensor.dims[-1] = classifier.top_k
            made.append(tensor)
            aliases[tensor.name] = template.name
    del tensors[:]
    tensors.extend([*kept, *made])
    return aliases


def _folder(stage: str, name: str, configs: Mapping[str, str], files: Mapping[str, bytes] | None = None) -> ModelFolder:
    """A stage's folder: its configurations, its model.py, and what else its version holds."""
    model_py = (templates_folder() / stage / "1" / "model.py").read_bytes()
    return ModelFolder(name, configs, {"model.py": model_py, **(files or {})})
