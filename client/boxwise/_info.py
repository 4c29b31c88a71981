"""The description of a pipeline: the JSON document that `<pipeline>_info` returns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boxwise._errors import ContractMismatch
from boxwise_contract.tensors import VERSION


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """The detector's classes (a class id is an index into `labels`), and its defaults."""

    labels: tuple[str, ...]
    score_threshold: float
    iou_threshold: float
    max_detections: int


@dataclass(frozen=True, slots=True)
class ClassifierInfo:
    """A classifier's labels (a label id is an index into them), and the classes it runs on.

    It returns `top_k` labels for each box whose detector class is in `only`; None for all classes.
    """

    name: str
    labels: tuple[str, ...]
    top_k: int
    only: tuple[int, ...] | None

    def label_name(self, label_id: int) -> str:
        """Return the name of a label."""
        return _name(self.labels, label_id)


@dataclass(frozen=True, slots=True)
class PipelineInfo:
    """A pipeline as its server describes it.

    `detector` is None if the classifiers run on the whole image. `limits` holds the limits of
    inputs (`max_pixels`, ...), `digests` the digests of the published graphs, by name.
    """

    contract: int
    pipeline: str
    detector: DetectorInfo | None
    classifiers: tuple[ClassifierInfo, ...]
    limits: Mapping[str, Any]
    digests: Mapping[str, Any]

    @classmethod
    def from_json(cls, document: str) -> PipelineInfo:
        """Parse the document; unknown keys are ignored.

        Raises:
            ContractMismatch: another version of the contract, or not a document of version 1.
        """
        try:
            fields = json.loads(document)
            contract = fields["contract"]
            if contract != VERSION:
                raise ContractMismatch(
                    f"pipeline {fields.get('pipeline')!r} has version {contract} of the tensor "
                    f"contract, and this client version {VERSION}: install the server's boxwise"
                )
            return cls(
                contract=contract,
                pipeline=fields["pipeline"],
                detector=_detector(fields["detector"]),
                classifiers=tuple(_classifier(each) for each in fields["classifiers"]),
                limits=fields.get("limits", {}),
                digests=fields.get("digests", {}),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ContractMismatch(
                f"the pipeline's info is not a document of version {VERSION} of the tensor "
                f"contract ({type(error).__name__}: {error})"
            ) from error

    def class_name(self, class_id: int) -> str:
        """Return the name of a detector class; "image" for -1, the class without a detector."""
        if class_id < 0:
            return "image"
        return _name(self.detector.labels if self.detector else (), class_id)


def _detector(fields: Any) -> DetectorInfo | None:
    if fields is None:
        return None
    return DetectorInfo(
        labels=tuple(fields["labels"]),
        score_threshold=fields["score_threshold"],
        iou_threshold=fields["iou_threshold"],
        max_detections=fields["max_detections"],
    )


def _classifier(fields: Any) -> ClassifierInfo:
    only = fields.get("only")
    return ClassifierInfo(
        name=fields["name"],
        labels=tuple(fields["labels"]),
        top_k=fields["top_k"],
        only=None if only is None else tuple(only),
    )


def _name(labels: tuple[str, ...], number: int) -> str:
    """Return the name of a label, or its number if it has no name."""
    return labels[number] if number < len(labels) else str(number)
