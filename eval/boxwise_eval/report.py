"""An evaluation, from a labelled set and a client to figures for people and for machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from boxwise import PipelineInfo
from boxwise_eval import classification, detection
from boxwise_eval.classification import ClassifierFigures
from boxwise_eval.datasets import Dataset
from boxwise_eval.datasets.base import plain
from boxwise_eval.detection import DetectionFigures
from boxwise_eval.errors import EvalError
from boxwise_eval.run import Detections, Predict, Thresholds, predict_all


@dataclass(frozen=True, eq=False)
class Report:
    """What was measured.

    Attributes:
        pipeline: its name.
        dataset: the set, `class_ids` by the pipeline's labels where it has boxes.
        thresholds: sent with each request.
        working_threshold: the pipeline's own, at which precision and recall are; None without a
            detector.
        found: of each image.
        detection: None without a detector.
        classifiers: of those for which the set knows the truth.
        notes: what a reader must know of the figures.
    """

    pipeline: str
    dataset: Dataset
    thresholds: Thresholds
    working_threshold: float | None
    found: Sequence[Detections]
    detection: DetectionFigures | None
    classifiers: Mapping[str, ClassifierFigures]
    notes: tuple[str, ...]

    def conditions(self) -> str:
        """What the figures of boxes depend on."""
        sent = self.thresholds
        return (
            f"mAP and AP: score {sent.score:g}, NMS IoU {sent.iou:g}, at most "
            f"{sent.max_detections} an image; "
            f"precision and recall: score {self.working_threshold:g}, the pipeline's own"
        )

    def document(self) -> dict[str, Any]:
        """The report as JSON; keys are documented in docs/reference/json.md."""
        said = self.detection
        return {
            "pipeline": self.pipeline,
            "dataset": self.dataset.kind,
            "split": self.dataset.split,
            "pictures": len(self.dataset.images),
            "thresholds": vars(self.thresholds) | {"working": self.working_threshold},
            "map": said and said.map,
            "map50": said and said.map50,
            "ap_small": said and said.ap_small,
            "ap_medium": said and said.ap_medium,
            "ap_large": said and said.ap_large,
            "precision": said and said.precision,
            "recall": said and said.recall,
            "classes": said and dict(said.classes),
            "classifiers": {
                name: {
                    "count": each.count,
                    "top1": each.top1,
                    "top5": each.top5,
                    "confusion": [
                        {"true": true, "said": answer, "count": n}
                        for (true, answer), n in each.confusion.items()
                    ],
                }
                for name, each in self.classifiers.items()
            },
            "notes": list(self.notes),
        }


_WHY_NOTHING = {
    True: "give the set names (data.yaml or classes.txt), since its numbers may mean other "
    "classes than the pipeline's",
    False: "the pipeline finds nothing at all on these images",
}


def evaluate(
    predict: Predict,
    info: PipelineInfo,
    dataset: Dataset,
    thresholds: Thresholds,
    *,
    concurrency: int = 1,
    done: Callable[[], None] = lambda: None,
) -> Report:
    """Send a labelled set through a pipeline and measure what comes back.

    Args:
        predict: the pipeline.
        info: what it says of itself.
        dataset: of boxes where the pipeline has a detector, of folders where not.
        thresholds: sent with each request.
        concurrency: requests under way.
        done: called after each image.

    Raises:
        EvalError: the set does not fit the pipeline, or an image is refused.
        BoxwiseError: the server does not answer.
    """
    notes = list(dataset.notes)
    if (info.detector is not None) != dataset.boxed:
        kind, fit = (
            ("has a detector", "boxes")
            if info.detector
            else ("has no detector", "a folder for each class")
        )
        raise EvalError(
            f"pipeline {info.pipeline} {kind}: expected a set with {fit}, got {dataset.kind}"
        )
    numbered = dataset.names is None
    if info.detector:
        if not any(len(each.boxes) for each in dataset.images):
            raise EvalError(
                f"none of the {len(dataset.images)} images has an object in its labels: "
                "nothing to measure"
            )
        dataset = dataset.named_by(info.detector.labels)
        if thresholds.max_detections > info.detector.max_detections:
            notes.append(
                f"at most {info.detector.max_detections} detections an image, not "
                f"{thresholds.max_detections}: "
                "the pipeline was exported so"
            )
            thresholds = replace(thresholds, max_detections=info.detector.max_detections)
    else:
        thresholds = replace(thresholds, max_detections=1)  # the image itself
        _check_known(dataset.names or (), [each.labels for each in info.classifiers])
    images, names = dataset.images, dataset.names or ()
    found = predict_all(predict, images, thresholds, concurrency=concurrency, done=done)
    working = info.detector.score_threshold if info.detector else None
    boxes = None
    if working is not None:
        most = thresholds.max_detections
        boxes = detection.evaluate(
            images, found, names, working_threshold=working, max_detections=most
        )
        if not boxes.map50:
            nothing = "no detection is on a labelled object of its class (IoU .5)"
            if numbered or not any(len(each.boxes) for each in found):
                raise EvalError(f"{nothing}: {_WHY_NOTHING[numbered]}")
            notes.append(nothing)
    classifiers = {}
    for each in info.classifiers:
        pairs = (
            classification.of_boxes(each.name, each.labels, images, found, boxes.matches, names)
            if boxes
            else classification.of_images(each.name, each.labels, images, found, names)
        )
        if figures := classification.figures(pairs, each.labels):
            classifiers[each.name] = figures
        else:
            notes.append(
                f"{each.name}: the set does not say what it should, so it was not measured"
            )
    return Report(
        info.pipeline, dataset, thresholds, working, found, boxes, classifiers, tuple(notes)
    )


def _check_known(names: Sequence[str], labels: Sequence[Sequence[str]]) -> None:
    known = {plain(label) for each in labels for label in each}
    if unknown := [name for name in names if plain(name) not in known]:
        raise EvalError(
            "no classifier has the labels "
            f"{', '.join(unknown[:10])[:200]}{', ...' if len(unknown) > 10 else ''}, "
            "which folders of the set are called after; rename or remove them"
        )
