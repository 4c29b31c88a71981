"""Mean average precision over the shared COCO photos, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path

import cv2
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from contract_support.calls import Answer


def photos(data: Path) -> list[Path]:
    """The photos, in a fixed order."""
    return sorted((data / "coco" / "images").glob("*.jpg"))


def average_precision(answers: Mapping[Path, Answer]) -> float:
    """mAP@[.5:.95] of the answers to these photos, against the labels beside them."""
    images, truths, detections = [], [], []
    for number, (photo, answer) in enumerate(answers.items()):
        height, width = cv2.imread(str(photo)).shape[:2]
        assert answer["image_size"].tolist() == [height, width]
        images.append({"id": number, "width": width, "height": height})
        label = photo.parents[1] / "labels" / f"{photo.stem}.txt"
        for line in label.read_text().splitlines() if label.exists() else []:
            class_id, cx, cy, w, h = (float(part) for part in line.split()[:5])
            box = [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]
            truths.append(
                _object(len(truths) + 1, number, int(class_id), box) | {"area": box[2] * box[3]}
            )
        for (x1, y1, x2, y2), score, class_id in zip(
            answer["boxes"].tolist(),
            answer["scores"].tolist(),
            answer["class_ids"].tolist(),
            strict=True,
        ):
            detections.append(
                {
                    "image_id": number,
                    "category_id": class_id,
                    "score": score,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": images,
            "annotations": truths,
            "categories": [{"id": i} for i in range(80)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def _object(number: int, image: int, class_id: int, box: list[float]) -> dict[str, object]:
    return {"id": number, "image_id": image, "category_id": class_id, "iscrowd": 0, "bbox": box}
