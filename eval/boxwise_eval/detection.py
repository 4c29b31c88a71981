"""Accuracy of boxes by COCO's rules, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_eval.datasets.base import LabelledImage
from boxwise_eval.run import Detections

_IOU_50 = 0  # of COCO's ten IoU thresholds, .5 to .95
_ALL_AREAS = 0  # of COCO's four: all, small (under 32^2 px), medium (under 96^2), large


@dataclass(frozen=True, eq=False)
class Matches:
    """The matches of one image's detections with its true boxes, at IoU 0.5.

    Only detections at or above the working threshold count. All numbers are rows of the image.

    Attributes:
        right: detection -> its true box.
        wrong: detections without a true box.
        missed: true boxes without a detection, crowds excluded.
    """

    right: Mapping[int, int]
    wrong: tuple[int, ...]
    missed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class DetectionFigures:
    """The accuracy of a detector; figures are 0 to 1, None if the set has no such objects.

    Attributes:
        map: mean average precision over IoU .5 to .95 and over classes.
        map50: mean average precision at IoU .5.
        ap_small: `map` of objects under 32 x 32 pixels.
        ap_medium: `map` of objects under 96 x 96 pixels.
        ap_large: `map` of larger objects.
        classes: name -> average precision over IoU .5 to .95, for the classes in the set.
        precision: share of detections at the working threshold that are right (IoU .5).
        recall: share of objects that are found at the working threshold (IoU .5).
        curve: precision at IoU .5 at 101 recalls from 0 to 1, mean over classes.
        matches: of each image.
    """

    map: float | None
    map50: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    classes: Mapping[str, float]
    precision: float | None
    recall: float | None
    curve: tuple[float, ...]
    matches: tuple[Matches, ...]

    def rows(self) -> dict[str, float | None]:
        """Return the figures over all classes by their usual names."""
        return {
            "mAP@[.5:.95]": self.map,
            "mAP50": self.map50,
            "AP small (under 32 x 32 px)": self.ap_small,
            "AP medium (under 96 x 96 px)": self.ap_medium,
            "AP large": self.ap_large,
            "precision (IoU .5)": self.precision,
            "recall (IoU .5)": self.recall,
        }


def evaluate(
    samples: Sequence[LabelledImage],
    found: Sequence[Detections],
    names: Sequence[str],
    *,
    working_threshold: float,
    max_detections: int = 100,
) -> DetectionFigures:
    """Measure detections against the true boxes.

    Args:
        samples: images of the set, with `class_ids` as indices into `names`.
        found: detections of each image, low scores included.
        names: of the classes.
        working_threshold: lowest score that counts for precision and recall.
        max_detections: the best detections of an image that count.
    """
    evaluation = _run(samples, found, len(names), max_detections)
    # [IoU, recall, class, area, max detections].
    precision: NDArray[np.float64] = evaluation.eval["precision"]
    by_class = {
        names[i]: float(values.mean())
        for i in range(len(names))
        if (values := precision[:, :, i, _ALL_AREAS, -1]).max() > -1
    }
    matches = _matches(evaluation, len(samples), working_threshold)
    right = sum(len(each.right) for each in matches)
    wrong, missed = (
        sum(len(getattr(each, kind)) for each in matches) for kind in ("wrong", "missed")
    )
    seen = precision[
        _IOU_50, :, [i for i, name in enumerate(names) if name in by_class], _ALL_AREAS, -1
    ]
    return DetectionFigures(
        map=_mean(precision[:, :, :, _ALL_AREAS, -1]),
        map50=_mean(precision[_IOU_50, :, :, _ALL_AREAS, -1]),
        ap_small=_mean(precision[:, :, :, 1, -1]),
        ap_medium=_mean(precision[:, :, :, 2, -1]),
        ap_large=_mean(precision[:, :, :, 3, -1]),
        classes=by_class,
        precision=right / (right + wrong) if right + wrong else None,
        recall=right / (right + missed) if right + missed else None,
        curve=tuple(seen.mean(axis=0).tolist()) if len(seen) else (),
        matches=matches,
    )


def _run(
    samples: Sequence[LabelledImage], found: Sequence[Detections], classes: int, max_detections: int
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    head = {
        "images": [{"id": i} for i in range(len(samples))],
        "categories": [{"id": i} for i in range(classes)],
    }
    truth, detections = COCO(), COCO()
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its timings
        truth.dataset = head | {"annotations": _numbered(_truth(samples))}
        truth.createIndex()
        detections.dataset = head | {"annotations": _numbered(_detections(found))}
        detections.createIndex()
        evaluation = COCOeval(truth, detections, "bbox")
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _truth(samples: Sequence[LabelledImage]) -> Iterator[dict[str, Any]]:
    for image, sample in enumerate(samples):
        rows = zip(sample.boxes, sample.class_ids, sample.areas, sample.crowd, strict=True)
        for row, (box, class_id, area, crowd) in enumerate(rows):
            yield _annotation(image, row, box, class_id) | {
                "area": float(area),
                "iscrowd": int(crowd),
            }


def _detections(found: Sequence[Detections]) -> Iterator[dict[str, Any]]:
    for image, each in enumerate(found):
        for row, (box, class_id, score) in enumerate(
            zip(each.boxes, each.class_ids, each.scores, strict=True)
        ):
            annotation = _annotation(image, row, box, class_id)
            _, _, width, height = annotation["bbox"]
            yield annotation | {"area": width * height, "iscrowd": 0, "score": float(score)}


def _annotation(
    image: int, row: int, box: NDArray[np.float32], class_id: np.int64
) -> dict[str, Any]:
    x1, y1, x2, y2 = box.tolist()
    return {
        "image_id": image,
        "row": row,
        "category_id": int(class_id),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
    }


def _numbered(annotations: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Number annotations from 1: COCOeval takes a match with number 0 for none."""
    return [annotation | {"id": number} for number, annotation in enumerate(annotations, 1)]


def _matches(evaluation: Any, count: int, working_threshold: float) -> tuple[Matches, ...]:
    """Return COCOeval's matches at IoU 0.5.

    Better scores are matched first, so a threshold can be applied afterwards.
    """
    rows = {
        kind: {number: annotation["row"] for number, annotation in annotations.anns.items()}
        for kind, annotations in (("truth", evaluation.cocoGt), ("detection", evaluation.cocoDt))
    }
    right: list[dict[int, int]] = [{} for _ in range(count)]
    wrong: list[list[int]] = [[] for _ in range(count)]
    missed: list[list[int]] = [[] for _ in range(count)]
    every = evaluation.params.areaRng[_ALL_AREAS]
    for each in evaluation.evalImgs:
        if each is None or each["aRng"] != every:
            continue
        image = each["image_id"]
        truth = {
            rows["truth"][number]
            for number, crowd in zip(each["gtIds"], each["gtIgnore"], strict=True)
            if not crowd
        }
        columns = zip(
            each["dtIds"],
            each["dtMatches"][_IOU_50],
            each["dtIgnore"][_IOU_50],
            each["dtScores"],
            strict=True,
        )
        for number, match, ignored, score in columns:
            if ignored or score < working_threshold:
                continue
            if match:
                right[image][rows["detection"][number]] = rows["truth"][int(match)]
                truth.discard(rows["truth"][int(match)])
            else:
                wrong[image].append(rows["detection"][number])
        missed[image] += sorted(truth)
    return tuple(Matches(right[i], tuple(wrong[i]), tuple(missed[i])) for i in range(count))


def _mean(precision: NDArray[np.float64]) -> float | None:
    """Return the mean over what the set has; COCOeval writes -1 for the rest."""
    values = precision[precision > -1]
    return float(values.mean()) if len(values) else None
