"""The info document becomes a frozen PipelineInfo,
or an error that says which contract it speaks.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from boxwise import ClassifierInfo, ContractMismatch, DetectorInfo, PipelineInfo


def test_the_document_is_parsed(info_document: dict[str, Any]) -> None:
    info = PipelineInfo.from_json(json.dumps(info_document | {"added later": True}))
    assert info == PipelineInfo(
        contract=1,
        pipeline="street",
        detector=DetectorInfo(
            ("cat", "cup"), score_threshold=0.25, iou_threshold=0.5, max_detections=100
        ),
        classifiers=(ClassifierInfo("imagenet", ("mug", "tabby", "espresso"), top_k=2, only=(1,)),),
        limits={"max_pixels": 25_000_000},
        digests={"detector": "sha256:00"},
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.contract = 2  # type: ignore[misc]


def test_a_pipeline_of_classifiers_alone_has_no_detector(info_document: dict[str, Any]) -> None:
    info_document["detector"] = None
    info_document["classifiers"][0]["only"] = None
    info = PipelineInfo.from_json(json.dumps(info_document))
    assert info.detector is None
    assert info.classifiers[0].only is None
    assert info.class_name(-1) == "image"


@pytest.mark.parametrize(("class_id", "name"), [(-1, "image"), (0, "cat"), (1, "cup"), (2, "2")])
def test_class_names(info_document: dict[str, Any], class_id: int, name: str) -> None:
    assert PipelineInfo.from_json(json.dumps(info_document)).class_name(class_id) == name


def test_another_contract_says_which(info_document: dict[str, Any]) -> None:
    # whatever else that version may have changed
    with pytest.raises(
        ContractMismatch, match=r"pipeline .street. has version 2 .* this client version 1"
    ):
        PipelineInfo.from_json(json.dumps({"contract": 2, "pipeline": "street"}))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "'contract'"),
        ('{"contract": 1}', "'pipeline'"),
        ('{"contract": 1, "pipeline": "p", "detector": {}, "classifiers": []}', "'labels'"),
        (
            '{"contract": 1, "pipeline": "p", "detector": null, "classifiers": [3]}',
            "AttributeError",
        ),
    ],
)
def test_a_broken_document_says_where(document: str, reason: str) -> None:
    with pytest.raises(ContractMismatch, match="not a document of version 1") as caught:
        PipelineInfo.from_json(document)
    assert reason in str(caught.value)
