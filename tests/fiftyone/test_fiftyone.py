"""Results as FiftyOne's detections and back; runs by `make test-fiftyone`, in an environment of its own."""

from __future__ import annotations

import fiftyone
import pytest
from contract_support.results import INFO, assert_same_result, results
from hypothesis import given, settings

from boxwise import Result


@settings(deadline=None)
@given(results())
def test_fiftyone_and_back(result: Result) -> None:
    detections = result.to_fiftyone()
    assert isinstance(detections, fiftyone.Detections)
    assert [each.label for each in detections.detections] == [each.class_name for each in result]
    for each, row in zip(detections.detections, result, strict=True):
        x, y, width, height = each.bounding_box
        assert min(x, y, width, height) >= 0
        assert x + width <= 1 + 1e-9
        assert y + height <= 1 + 1e-9
        assert each.confidence == pytest.approx(row.confidence)
    assert_same_result(Result.from_fiftyone(detections, INFO), result)
