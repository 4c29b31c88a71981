"""An ensemble as in Triton's tutorials: float32 between the models, decoding and NMS in numpy.

    image ─▶ preprocess ─▶ float32 canvas, frame ─▶ detector ─▶ raw heads
          ─▶ postprocess ─▶ boxes, float32 crops ─▶ classifier ─▶ logits ─▶ labels

Its networks are the pipeline's before the export adds decoding. Instances and threads are as ours.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tritonclient.grpc as triton
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from boxwise_benchmarks.baselines.base import Detections, Peer
from boxwise_benchmarks.baselines.raw import RawPipeline
from boxwise_benchmarks.baselines.two_calls import RemoteGraph
from boxwise_runtime.launcher import ServerOptions, TritonProcess

_PIPELINE = "tutorial"
_OUTPUTS = ("boxes", "scores", "class_ids", "label_ids", "label_scores")
TensorTypes = dict[str, tuple[str, Sequence[int]]]  # name -> type, dimensions


@dataclass(frozen=True)
class _Model:
    """One model of the repository; `graph` is set for a network."""

    name: str
    source: str
    inputs: TensorTypes
    outputs: TensorTypes
    settings: Mapping[str, Any]
    graph: onnx.ModelProto | None = field(default=None, repr=False)


class Tutorial(Peer):
    """One request per image.

    Args:
        raw: the pipeline's networks before the export.
    """

    name = "tutorial"

    def __init__(self, raw: RawPipeline) -> None:
        self._raw = raw

    def start(self, stack: ExitStack) -> None:
        """Write the repository, and start the server and a client."""
        repository = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="boxwise-tutorial-"))
        )
        write_tutorial(self._raw, repository)
        options = ServerOptions.on_free_ports(repository)
        stack.enter_context(TritonProcess.start(options))
        client = triton.InferenceServerClient(options.grpc_url)
        stack.callback(client.close)
        self._ensemble = RemoteGraph(client, _PIPELINE, _OUTPUTS)

    def call(self, image: bytes) -> Detections:
        """Call the ensemble."""
        return Detections(**self._ensemble({"image": np.frombuffer(image, np.uint8)}))


def write_tutorial(raw: RawPipeline, repository: Path) -> None:
    """Write the five models and their ensemble."""
    models = _models(raw)
    for model in models:
        config = _config(model.name, model.inputs, model.outputs)
        config.backend = "python"
        config.instance_group.add(
            count=raw.recipe.instances, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU
        )
        config.parameters["settings"].string_value = json.dumps(model.settings)
        _write(repository, config)
        version = repository / model.name / "1"
        source = Path(__file__).parent / "tutorial_models" / f"{model.source}.py"
        (version / "model.py").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        if model.graph is not None:
            onnx.save(model.graph, version / "model.onnx")
    public = {
        name: tensor
        for model in models
        for name, tensor in model.outputs.items()
        if name in _OUTPUTS
    }
    ensemble = _config(_PIPELINE, {"image": ("UINT8", [-1])}, public)
    ensemble.platform = "ensemble"
    for model in models:
        # A tensor has the same name in all models, so the maps are identities.
        same = [{name: name for name in tensors} for tensors in (model.inputs, model.outputs)]
        ensemble.ensemble_scheduling.step.add(
            model_name=model.name, model_version=-1, input_map=same[0], output_map=same[1]
        )
    _write(repository, ensemble)


def _models(raw: RawPipeline) -> list[_Model]:
    recipe, detector, classifier = raw.recipe, raw.detector, raw.classifier
    fields, crop = recipe.preprocess, dict(recipe.objects["crops"][recipe.classifier])
    only = crop.pop("only", ())
    run = {"threads": recipe.threads, "chunk": recipe.chunk}
    canvas: TensorTypes = {detector.input: ("FP32", detector.input_shape)}
    heads: TensorTypes = {name: ("FP32", shape) for name, shape in detector.outputs.items()}
    crops: TensorTypes = {classifier.input: ("FP32", [-1, *classifier.input_shape[1:]])}
    logits: TensorTypes = {
        name: ("FP32", [-1, *shape[1:]]) for name, shape in classifier.outputs.items()
    }
    frame: TensorTypes = {"frame": ("UINT8", [-1, -1, 3]), "geometry": ("FP32", [6])}
    boxes: TensorTypes = {
        "boxes": ("FP32", [-1, 4]),
        "scores": ("FP32", [-1]),
        "class_ids": ("INT32", [-1]),
    }
    labels: TensorTypes = {
        "label_ids": ("INT32", [-1, recipe.top_k]),
        "label_scores": ("FP32", [-1, recipe.top_k]),
    }
    suppress = {
        name: fields[name] for name in ("score_threshold", "iou_threshold", "max_detections")
    }
    return [
        _Model(
            "preprocess",
            "preprocess",
            {"image": ("UINT8", [-1])},
            canvas | frame,
            {**fields, **detector.preprocessing, "input": detector.input},
        ),
        _Model(
            "detector", "network", canvas, heads, {**run, "input": detector.input}, detector.graph
        ),
        _Model(
            "postprocess",
            "postprocess",
            heads | frame,
            boxes | crops | {"rows": ("INT32", [-1])},
            {
                **suppress,
                **raw.heads,
                **classifier.preprocessing,
                "crop": crop,
                "only": only,
                "input": classifier.input,
            },
        ),
        _Model(
            "classifier",
            "network",
            crops,
            logits,
            {**run, "input": classifier.input},
            classifier.graph,
        ),
        _Model(
            "labels",
            "labels",
            logits | {"rows": ("INT32", [-1]), "class_ids": ("INT32", [-1])},
            labels,
            {"logits": next(iter(logits)), "top_k": recipe.top_k},
        ),
    ]


def _config(name: str, inputs: TensorTypes, outputs: TensorTypes) -> Any:
    config = model_config_pb2.ModelConfig(name=name, max_batch_size=0)
    for tensors, described in ((config.input, inputs), (config.output, outputs)):
        for tensor, (kind, dims) in described.items():
            tensors.add(name=tensor, data_type=f"TYPE_{kind}", dims=dims)
    return config


def _write(repository: Path, config: Any) -> None:
    (repository / config.name / "1").mkdir(parents=True)
    text = text_format.MessageToString(config)
    (repository / config.name / "config.pbtxt").write_text(text, encoding="utf-8")
