"""Results as hypothesis draws them, and what it means that two are the same."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from boxwise import ClassifierInfo, DetectorInfo, PipelineInfo, Result

INFO = PipelineInfo(
    contract=1,
    pipeline="street",
    detector=DetectorInfo(
        ("cat", "cup"), score_threshold=0.25, iou_threshold=0.5, max_detections=100
    ),
    classifiers=(ClassifierInfo("drink", ("mug", "tabby", "espresso"), top_k=2, only=(1,)),),
    limits={},
    digests={},
)


@st.composite
def results(draw: st.DrawFn) -> Result:
    """No boxes or a few, anywhere in the image; labels for cups alone."""
    height, width = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    n = draw(st.integers(0, 5))

    def side(length: int) -> list[np.float32]:
        return sorted(draw(st.tuples(*[st.floats(0, length, width=32)] * 2)))

    spans = [(side(width), side(height)) for _ in range(n)]
    boxes = np.array([(x[0], y[0], x[1], y[1]) for x, y in spans], np.float32).reshape(-1, 4)
    class_ids = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.int32)
    labels = draw(st.lists(st.permutations(range(3)), min_size=n, max_size=n))
    scores = draw(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 2), min_size=n, max_size=n))
    asked = (class_ids == 1)[:, np.newaxis]
    columns = {
        "boxes": boxes,
        "scores": np.array(
            draw(st.lists(st.floats(0, 1, width=32), min_size=n, max_size=n)), np.float32
        ),
        "class_ids": class_ids,
        "image_size": np.array([height, width], np.int32),
        "drink_ids": np.where(asked, np.array(labels, np.int32).reshape(n, 3)[:, :2], -1).astype(
            np.int32
        ),
        "drink_scores": np.where(asked, np.array(scores, np.float32).reshape(n, 2), 0).astype(
            np.float32
        ),
    }
    return Result.from_arrays(columns, INFO)


def assert_same_result(one: Result, other: Result) -> None:
    """Equal in every column to the last bit, but for the sign of zero, and of the same types."""
    assert one.image_size == other.image_size
    columns = [
        (one.xyxy, other.xyxy),
        (one.confidence, other.confidence),
        (one.class_id, other.class_id),
        *((one.label_ids[name], other.label_ids[name]) for name in other.label_ids),
        *((one.label_scores[name], other.label_scores[name]) for name in other.label_scores),
    ]
    for left, right in columns:
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert one.detections == other.detections
