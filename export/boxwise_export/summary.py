"""Summarise a plan, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from boxwise_export.plan import Plan


def routes(plan: Plan) -> dict[tuple[str, ...], list[str]]:
    """Return classifier -> the detector classes that it runs on."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for class_id, name in enumerate(plan.detector.labels if plan.detector else ()):
        asked = tuple(c.spec.name for c in plan.classifiers if not c.only or class_id in c.only)
        grouped.setdefault(asked, []).append(name)
    return grouped


def document(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON types; the keys are stable, see docs/reference/json.md."""
    detector = plan.detector
    return {
        "pipeline": plan.name,
        "detector": detector
        and {
            "family": detector.family,
            "classes": list(detector.labels),
            "canvas": asdict(detector.canvas),
            "candidates": detector.candidates,
            "max_batch_size": detector.max_batch_size,
            "score_threshold": detector.spec.score_threshold,
            "iou_threshold": detector.spec.iou_threshold,
            "max_detections": detector.spec.max_detections,
            "multi_label": detector.multi_label,
            "class_agnostic": detector.spec.nms.class_agnostic,
            "notes": list(detector.notes),
        },
        "classifiers": [
            {
                "name": classifier.spec.name,
                "labels": list(classifier.labels),
                "only": [detector.labels[i] for i in classifier.only]
                if detector and classifier.only
                else None,
                "crop": asdict(classifier.crop),
                "top_k": classifier.top_k,
                "max_batch_size": classifier.max_batch_size,
                "activation": classifier.activation,
                "notes": list(classifier.notes),
            }
            for classifier in plan.classifiers
        ],
        "limits": asdict(plan.limits),
    }
