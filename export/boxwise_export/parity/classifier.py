"""A classifier's steps of the parity gate: pixels, raw outputs, the best label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from boxwise_export.graphs.classifier import unit_vectors
from boxwise_export.graphs.normalize import normalized_pixels
from boxwise_export.parity.limits import Limits
from boxwise_export.parity.pixels import PixelDifference
from boxwise_export.parity.raw import RawOutputs
from boxwise_export.parity.report import Step
from boxwise_export.plan import ClassifierPlan
from boxwise_runtime.crop import crop
from boxwise_runtime.pipeline_runner import Graph, PipelineRunner

_MOST_CROPS = 16  # of an image


def check_classifier(
    plan: ClassifierPlan,
    runner: PipelineRunner,
    frames: Sequence[NDArray[np.uint8]],
    limits: Limits,
) -> Iterator[Step]:
    """Compare on the boxes that the detector finds, and on every image as a whole.

    Args:
        plan: with the source.
        runner: the exported stages.
        frames: RGB uint8 [H, W, 3].
        limits: what is allowed.
    """
    name = plan.spec.name
    graph = runner.classifiers[name]
    pixels, raw = PixelDifference(), RawOutputs(plan.graph, [plan.raw_output], "crops")
    asked = agreed = 0
    for frame in frames:
        crops = crops_of(plan, runner, frame)
        given = normalized_pixels(crops, plan.normalize, plan.input)
        if plan.source.prepare and runner.detector is None:
            pixels.add(plan.source.prepare(frame), given[:1], plan.normalize, plan.input)
        for row in range(len(crops)):  # one by one: the source's graph may be fixed to a batch of 1
            outputs = plan.source.run(given[row : row + 1])
            raw.add(outputs, crops[row : row + 1])
            asked += 1
            agreed += _agrees(
                plan, outputs[plan.raw_output][0], graph, crops[row : row + 1], limits.score
            )
    yield pixels.step(name, limits.pixels)
    yield raw.step(name, limits.outputs)
    share = agreed / asked
    sentence = (
        f"{agreed} of {asked} images and boxes have the source's best label, its score within "
        f"{limits.score:g}"
    )
    figures = {"compared": float(asked), "agreed": float(agreed), "agreement": share}
    yield Step(name, "top-1", share >= limits.agreement, sentence, figures)


def crops_of(
    plan: ClassifierPlan, runner: PipelineRunner, frame: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return crops uint8 [m, h, w, 3]: the whole image,
    and the boxes that this classifier runs on.
    """
    height, width = frame.shape[:2]
    whole = crop(frame, np.array([[0, 0, width, height]], np.float32), plan.crop)
    if runner.detector is None:
        return whole
    objects = runner({"raw_frame": frame})
    asked = len(objects[f"{plan.spec.name}_rows"])
    boxes: NDArray[np.uint8] = objects[f"{plan.spec.name}_crops"][: min(asked, _MOST_CROPS)]
    return np.concatenate([whole, boxes])


def _agrees(
    plan: ClassifierPlan,
    output: NDArray[np.float32],
    graph: Graph,
    pixels: NDArray[np.uint8],
    allowed: float,
) -> bool:
    """Return whether the graph's best label is the source's, or has an equal score there."""
    scores = _scores(output.ravel().astype(np.float64), plan)
    answer = graph({"crops": pixels})
    best, score = int(answer["label_ids"][0, 0]), float(answer["label_scores"][0, 0])
    threshold = plan.spec.threshold
    if best < 0:  # below the threshold
        return threshold is not None and float(scores.max()) < threshold + allowed
    return (
        float(scores.max()) - float(scores[best]) <= allowed
        and abs(float(scores[best]) - score) <= allowed
    )


def _scores(output: NDArray[np.float64], plan: ClassifierPlan) -> NDArray[np.float64]:
    """Compute the graph's result from the source's output, in numpy."""
    if plan.similarity is not None:
        output = plan.similarity.astype(np.float64) @ unit_vectors(output)
    if plan.activation == "softmax":
        powers = np.exp(output - output.max())
        scores: NDArray[np.float64] = powers / powers.sum()
        return scores
    return 1 / (1 + np.exp(-output)) if plan.activation == "sigmoid" else output
