"""An evaluation: the pipeline's predictions on a labelled set, and their figures."""

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
    """The result of an evaluation.

    Attributes:
        pipeline: its name.
        dataset: the set; if it has boxes, with `class_ids` of the pipeline's labels.
        thresholds: sent with each request.
        working_threshold: the pipeline's score threshold, used for precision and recall; None
            without a detector.
        found: detections of each image.
        detection: figures of the detector; None without one.
        classifiers: figures of the classifiers for which the set has true labels.
        notes: remarks for the reader.
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
        """Return the conditions of the figures of boxes."""
        sent = self.thresholds
        return (
            f"mAP and AP: score {sent.score:g}, NMS IoU {sent.iou:g}, at most "
            f"{sent.max_detections} per image; precision and recall: score "
            f"{self.working_threshold:g}, the pipeline's own"
        )

    def document(self) -> dict[str, Any]:
        """Return the report as JSON types; docs/reference/json.md has the keys."""
        figures = self.detection
        return {
            "pipeline": self.pipeline,
            "dataset": self.dataset.kind,
            "split": self.dataset.split,
            "pictures": len(self.dataset.images),
            "thresholds": vars(self.thresholds) | {"working": self.working_threshold},
            "map": figures and figures.map,
            "map50": figures and figures.map50,
            "ap_small": figures and figures.ap_small,
            "ap_medium": figures and figures.ap_medium,
            "ap_large": figures and figures.ap_large,
            "precision": figures and figures.precision,
            "recall": figures and figures.recall,
            "classes": figures and dict(figures.classes),
            "classifiers": {
                name: {
                    "count": each.count,
                    "top1": each.top1,
                    "top5": each.top5,
                    "confusion": [
                        {"true": true, "said": predicted, "count": n}
                        for (true, predicted), n in each.confusion.items()
                    ],
                }
                for name, each in self.classifiers.items()
            },
            "notes": list(self.notes),
        }


_WHY_NOTHING = {
    True: "give the set names (data.yaml or classes.txt), since its numbers may be of other "
    "classes than the pipeline's",
    False: "the pipeline finds nothing in these images",
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
    """Evaluate a pipeline on a labelled set.

    Args:
        predict: calls the pipeline.
        info: the pipeline's description.
        dataset: with boxes if the pipeline has a detector, otherwise a folder per class.
        thresholds: sent with each request.
        concurrency: requests in flight.
        done: called after each image.

    Raises:
        EvalError: the set does not fit the pipeline, or an image is rejected.
        BoxwiseError: the server does not respond.
    """
    numbered = dataset.names is None
    dataset, thresholds, notes = _fitted(info, dataset, thresholds)
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
            notes.append(f"{each.name}: not measured, because the set has no labels for it")
    return Report(
        info.pipeline, dataset, thresholds, working, found, boxes, classifiers, tuple(notes)
    )


def _fitted(
    info: PipelineInfo, dataset: Dataset, thresholds: Thresholds
) -> tuple[Dataset, Thresholds, list[str]]:
    """Return the set by the pipeline's labels, thresholds within its limits, and notes.

    Raises:
        EvalError: the set does not fit the pipeline.
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
    if info.detector:
        if not any(len(each.boxes) for each in dataset.images):
            raise EvalError(
                f"none of the {len(dataset.images)} images has an object in its labels: "
                "nothing to measure"
            )
        dataset = dataset.named_by(info.detector.labels)
        if thresholds.max_detections > info.detector.max_detections:
            notes.append(
                f"at most {info.detector.max_detections} detections per image, not "
                f"{thresholds.max_detections}: the pipeline's limit"
            )
            thresholds = replace(thresholds, max_detections=info.detector.max_detections)
    else:
        thresholds = replace(thresholds, max_detections=1)  # the whole image
        _check_known(dataset.names or (), [each.labels for each in info.classifiers])
    return dataset, thresholds, notes


def _check_known(names: Sequence[str], labels: Sequence[Sequence[str]]) -> None:
    known = {plain(label) for each in labels for label in each}
    if unknown := [name for name in names if plain(name) not in known]:
        raise EvalError(
            "no classifier has the labels "
            f"{', '.join(unknown[:10])[:200]}{', ...' if len(unknown) > 10 else ''}, after which "
            "folders of the set are named; rename or remove them"
        )
