"""A pipeline's networks before `boxwise export` adds normalisation, decoding and top-k."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from boxwise_benchmarks.baselines.recipe import Recipe
from boxwise_export.checkpoints.network import Network, Report, read_network
from boxwise_export.pipeline import Normalize, load_pipeline
from boxwise_export.plan import make_plan
from boxwise_perf.null import constant_network
from boxwise_runtime.session import OnnxGraph


@dataclass(frozen=True)
class RawNetwork:
    """One network.

    Attributes:
        graph: from float32 images to raw float32 outputs.
        input: name of its only input.
        input_shape: for one image, batch dimension first.
        outputs: name -> shape for one image, batch dimension first.
        preprocessing: `mean`, `std` (units of 0 to 255) and `layout`, NCHW or NHWC.
    """

    graph: onnx.ModelProto
    input: str
    input_shape: tuple[int, ...]
    outputs: Mapping[str, tuple[int, ...]]
    preprocessing: Mapping[str, Any]

    @classmethod
    def of(cls, network: Network, normalize: Normalize) -> RawNetwork:
        """Return the raw network of one that was read, and its normalisation."""
        if network.input.element_type != TensorProto.FLOAT:
            kind = TensorProto.DataType.Name(network.input.element_type)
            raise ValueError(
                f"input {network.input.name} is {kind}; the tutorials' ensemble feeds FLOAT"
            )
        return cls(
            network.model,
            network.input.name,
            network.input.shape(1, network.height, network.width),
            {name: values.shape for name, values in network.outputs.items()},
            {
                "mean": list(normalize.mean),
                "std": list(normalize.std),
                "layout": network.input.layout,
            },
        )

    def constant_network(self, rows: Mapping[str, NDArray[np.float32]]) -> RawNetwork:
        """Return a network that returns these rows for each image, without the batch dimension."""
        values = {
            name: onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in rows
        }
        image = onnx.helper.make_tensor_value_info(
            self.input, TensorProto.FLOAT, ["batch", *self.input_shape[1:]]
        )
        return replace(self, graph=constant_network(image, list(values.values()), rows))


@dataclass(frozen=True)
class RawPipeline:
    """A CenterNet and a classifier, and the recipe of their pipeline.

    Attributes:
        recipe: of the exported repository.
        detector: its outputs are a heat map [1, h, w, C] and distances [1, h, w, 4].
        classifier: its output is logits.
        heads: `heat` and `distances`, names of the detector's outputs, and `stride`, canvas pixels
            per cell.
    """

    recipe: Recipe
    detector: RawNetwork
    classifier: RawNetwork
    heads: Mapping[str, Any]

    def digests(self) -> dict[str, str]:
        """Return SHA-256 of each graph, by its name in the table."""
        graphs = {"raw detector": self.detector.graph, "raw classifier": self.classifier.graph}
        return {
            name: hashlib.sha256(graph.SerializeToString()).hexdigest()
            for name, graph in graphs.items()
        }


def read_raw(pipeline_file: Path, recipe: Recipe, report: Report = lambda _: None) -> RawPipeline:
    """Read the networks of a pipeline file.

    Args:
        pipeline_file: from which the recipe's repository was exported.
        recipe: of that repository.
        report: called with a line before each step.

    Raises:
        ExportError: a checkpoint cannot be read.
        ValueError: the tutorials' ensemble does not support the pipeline.
    """
    pipeline = load_pipeline(pipeline_file)
    plan = make_plan(pipeline, report=report)
    if plan.detector is None or plan.detector.family != "centernet" or pipeline.detector is None:
        family = plan.detector.family if plan.detector else "no detector"
        raise ValueError(
            f"{pipeline_file}: {family}; the tutorials' ensemble decodes heads of CenterNet"
        )
    spec = pipeline.classifiers[0]
    if plan.classifiers[0].activation != "softmax" or spec.threshold is not None or spec.prototypes:
        raise ValueError(
            f"{pipeline_file}: classifiers.{spec.name}: the tutorials' ensemble knows plain "
            "softmax only"
        )
    networks = [
        read_network(weights.weights, size, key, f"{key}.size", report)
        for weights, size, key in (
            (pipeline.detector, pipeline.detector.canvas.size, "detector"),
            (spec, spec.crop.size, f"classifiers.{spec.name}"),
        )
    ]
    detector = RawNetwork.of(networks[0], plan.detector.normalize)
    sizes = {name: shape[-1] for name, shape in detector.outputs.items()}
    distances = min(sizes, key=lambda name: sizes[name])
    (heat,) = sizes.keys() - {distances}
    if sizes[distances] != 4:
        raise ValueError(
            f"{pipeline_file}: heads {dict(detector.outputs)}; expected channels last, 4 of "
            "them distances"
        )
    heads = {
        "heat": heat,
        "distances": distances,
        "stride": networks[0].width / detector.outputs[heat][2],
    }
    return RawPipeline(
        recipe, detector, RawNetwork.of(networks[1], plan.classifiers[0].normalize), heads
    )


def nullify_raw(raw: RawPipeline, recipe: Recipe) -> RawPipeline:
    """Return networks that return constants, so that the ensemble finds what a null one finds.

    Args:
        raw: the real pipeline.
        recipe: of the repository that `null.nullify` wrote.
    """
    canvas = np.zeros(
        (1, recipe.preprocess["canvas_height"], recipe.preprocess["canvas_width"], 3), np.uint8
    )
    found = OnnxGraph(Path(recipe.graphs["detector"]))({"canvas": canvas})
    shown = found["candidate_scores"][0] > 0
    boxes, scores, class_ids = (
        found[f"candidate_{part}"][0][shown] for part in ("boxes", "scores", "classes")
    )
    heat, distances = (
        np.zeros(raw.detector.outputs[raw.heads[name]][1:], np.float32)
        for name in ("heat", "distances")
    )
    stride = raw.heads["stride"]
    for box, score, class_id in zip(boxes, scores, class_ids, strict=True):
        x, y = (int((box[side] + box[side + 2]) / 2 / stride) for side in (0, 1))
        heat[y, x, class_id] = score
        distances[y, x] = np.abs(box - np.array([x, y, x, y], np.float32) * stride)

    crops = np.zeros((1, *_crop_size(recipe), 3), np.uint8)
    labels = OnnxGraph(Path(recipe.graphs[f"classifier_{recipe.classifier}"]))({"crops": crops})
    ids, shares = labels["label_ids"][0], labels["label_scores"][0]
    ((logits, shape),) = raw.classifier.outputs.items()
    # The softmax of logarithms of probabilities is the probabilities; the rest is split evenly.
    probabilities = np.full(shape[1:], (1 - shares.sum()) / (shape[-1] - len(ids)), np.float32)
    probabilities[ids] = shares
    return replace(
        raw,
        recipe=recipe,
        detector=raw.detector.constant_network(
            {raw.heads["heat"]: heat, raw.heads["distances"]: distances}
        ),
        classifier=raw.classifier.constant_network({logits: np.log(probabilities)}),
    )


def _crop_size(recipe: Recipe) -> tuple[int, int]:
    crop = recipe.objects["crops"][recipe.classifier]
    return crop["height"], crop["width"]
