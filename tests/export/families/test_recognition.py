"""Which family reads which head, and what is said where none does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from boxwise_export.errors import GraphError
from boxwise_export.families import FAMILIES, Head, Reading, find_family
from boxwise_export.pipeline import TensorNames

SIDE = 256
CELLS = 1024 + 256 + 64
Shapes = Mapping[str, Sequence[int]]
ONE_CLASS_EACH = TensorNames(boxes="b", scores="s", classes="c")


def head(
    shapes: Shapes,
    classes: int | Sequence[str] | None = None,
    tensors: TensorNames | None = None,
    keys: Mapping[str, Any] = {},
    **fixed: np.ndarray,
) -> Head:
    """A head of 0 to 1 noise in these shapes."""
    random = np.random.default_rng(0)
    outputs = {name: random.random(shape, np.float32) for name, shape in shapes.items()} | fixed
    names = tuple(f"kind {i}" for i in range(classes)) if isinstance(classes, int) else classes
    return Head(outputs, SIDE, SIDE, names and tuple(names), tensors=tensors, **keys)


def end_to_end(count: int = 300) -> np.ndarray:
    random = np.random.default_rng(1)
    rows = random.uniform(0, SIDE, (1, count, 6)).astype(np.float32)
    rows[..., 4] = np.sort(random.random(count))[::-1]
    rows[..., 5] = random.integers(0, 80, count)
    return rows


def scores_and_bins(count: int) -> np.ndarray:
    values = np.random.default_rng(2).normal(0, 2, (1, count, 112)).astype(np.float32)
    values[..., :80] = values[..., :80].clip(0, 1)
    return values


def levels(channels: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Maps of strides 8 to 128."""
    return {
        f"{role}{side}": (1, count, side, side)
        for role, count in channels.items()
        for side in (32, 16, 8, 4, 2)
    }


NINE = np.random.default_rng(3).random((9, 4), np.float32)


@pytest.mark.parametrize(
    ("family", "given", "classes"),
    [
        ("centernet", head({"heat": (1, 64, 64, 80), "sides": (1, 64, 64, 4)}), 80),
        ("centernet", head({"sides": (1, 4, 64, 64), "heat": (1, 80, 64, 64)}), 80),
        ("yolov8", head({"output0": (1, 84, CELLS)}), 80),
        ("yolov8", head({"output0": (1, 5, CELLS)}), 1),
        ("yolov8", head({"output0": (1, 84, CELLS + 16)}), 80),  # P6
        ("yolox", head({"output": (1, CELLS, 85)}), 80),
        ("yolox", head({"output": (1, CELLS, 6)}), 1),
        ("yolov5", head({"output": (1, 3 * CELLS, 85)}), 80),
        ("yolov5", head({"output": (1, 3 * CELLS, 6)}), 1),
        (
            "yolov5",
            head(
                {"output": (1, 3 * CELLS, 85), "p3": (1, 3, 32, 32, 85), "p4": (1, 3, 16, 16, 85)}
            ),
            80,
        ),
        ("yolov10", head({}, output0=end_to_end()), None),
        ("yolov10", head({}, output0=end_to_end(1)), None),
        ("nanodet", head({}, output=scores_and_bins(CELLS)), 80),
        (
            "nanodet",
            head(
                {
                    f"{kind}{n}": (1, n, width)
                    for kind, width in (("scores", 20), ("sides", 32))
                    for n in (64, 1024, 256)
                }
            ),
            20,
        ),
        (
            "detr",
            head({"logits": (1, 100, 92), "boxes": (1, 100, 4)}, 91, keys={"background": "first"}),
            91,
        ),
        ("detr", head({"boxes": (1, 100, 4), "logits": (1, 100, 80)}, 80), 80),
        (
            "faster_rcnn",
            head(
                {},
                boxes=NINE * SIDE,
                labels=np.float32([1] * 9),
                scores=NINE[:, 0],
                keys={"background": "first"},
            ),
            None,
        ),
        ("retinanet", head(levels({"c": 9 * 7, "d": 36}), 7), 7),
        ("fcos", head(levels({"c": 7, "d": 4, "m": 1}), 7), 7),
        (
            "generic",
            head({"b": (1, 9, 4), "s": (1, 9, 3)}, tensors=TensorNames(boxes="b", scores="s")),
            3,
        ),
        ("generic", head({"b": (9, 4), "s": (9,), "c": (9,)}, tensors=ONE_CLASS_EACH), None),
    ],
)
def test_a_head_is_recognised(family: str, given: Head, classes: int | None) -> None:
    found, reading = find_family(None, given)
    assert (found.name, reading.classes) == (family, classes)
    assert reading.nms is (family not in ("yolov10", "detr"))
    for name, values in given.outputs.items():
        if given.tensors is None and values.ndim == 3:
            assert f"{name} {list(values.shape)}" in reading.why


@pytest.mark.parametrize(
    ("given", "nearest", "missing"),
    [
        (
            head({"output": (1, 999, 85)}),
            "yolox",
            f"one output [batch, {CELLS} or {CELLS + 16}, 5 + classes]",
        ),
        (
            head(
                {}, output=np.random.default_rng(0).normal(0, 3, (1, 84, CELLS)).astype(np.float32)
            ),
            "yolov8",
            "with class scores after the sigmoid",
        ),
        (
            head({"heat": (1, 64, 64, 80), "offsets": (1, 64, 64, 2)}),
            "centernet",
            "distances (4 channels)",
        ),
        (head({"where": (1, 10, 4, 1)}), "centernet", "two maps of one size"),
    ],
)
def test_a_refusal_names_the_nearest_family_and_the_missing_piece(
    given: Head, nearest: str, missing: str
) -> None:
    with pytest.raises(GraphError) as caught:
        find_family(None, given)
    sentence = str(caught.value)
    for name, values in given.outputs.items():
        assert f"{name} {list(values.shape)}" in sentence
    assert f"the nearest is {nearest}" in sentence
    assert missing in sentence
    assert "family: generic" in sentence


def levels_of_bins(names: str) -> dict[str, np.ndarray]:
    """Scores and distributions of four levels, outputs named by a pattern."""
    random = np.random.default_rng(4)
    outputs = {}
    for row, side in enumerate((32, 16, 8, 4)):
        outputs[names.format(2 * row)] = random.random((1, side * side, 3), np.float32)
        outputs[names.format(2 * row + 1)] = random.normal(0, 2, (1, side * side, 32)).astype(
            np.float32
        )
    return outputs


@pytest.mark.parametrize(
    ("given", "families"),
    [
        (head({}, **levels_of_bins("level_{}")), ["nanodet", "picodet"]),
        (
            head({}, boxes=NINE * SIDE, labels=np.ones(9, np.float32), scores=NINE[:, 0]),
            ["faster_rcnn", "retinanet"],
        ),
    ],
)
def test_what_nothing_tells_apart_is_asked(given: Head, families: list[str]) -> None:
    with pytest.raises(GraphError, match="which more than one family reads") as caught:
        find_family(None, given)
    for family in families:
        assert f"`family: {family}`" in str(caught.value)
        assert find_family(family, given)[0].name == family


def test_a_label_0_shows_where_labels_start() -> None:
    given = head({}, boxes=NINE * SIDE, labels=np.float32([0, 1] * 4 + [2]), scores=NINE[:, 0])
    with pytest.raises(GraphError) as caught:
        find_family(None, given)
    assert "faster_rcnn" not in str(caught.value)


def test_the_names_of_paddle_are_picodet_s() -> None:
    assert find_family(None, head({}, **levels_of_bins("transpose_{}.tmp_0")))[0].name == "picodet"


def test_a_background_where_a_family_has_none_is_refused() -> None:
    given = head({"output": (1, CELLS, 85)}, 80, keys={"background": "first"})
    with pytest.raises(
        GraphError,
        match=r"detector\.background: family yolox gives scores of its classes, and no background",
    ):
        find_family("yolox", given)


def test_a_family_that_is_named_says_what_it_misses() -> None:
    with pytest.raises(
        GraphError, match=r"gives x \[1, 2\]; family yolov8 needs one output \[batch, 4 \+ classes"
    ):
        find_family("yolov8", head({"x": (1, 2)}))
    with pytest.raises(GraphError, match="'yolo' is not known; expected one of centernet, "):
        find_family("yolo", head({"x": (1, 2)}))


@pytest.mark.parametrize(
    ("tensors", "missing"),
    [
        (None, "`tensors:`"),
        (TensorNames(boxes="b", scores="nothing"), "an output 'nothing'"),
        (TensorNames(boxes="s", scores="s"), r"s of \[batch, boxes, 4\]"),
        (TensorNames(boxes="b", scores="few"), "few of .*as b has boxes"),
        (TensorNames(boxes="b", scores="s", classes="few"), "few and s of"),
    ],
)
def test_tensors_that_do_not_fit(tensors: TensorNames | None, missing: str) -> None:
    given = head({"b": (1, 9, 4), "s": (1, 9, 3), "few": (1, 8)}, tensors=tensors)
    with pytest.raises(GraphError, match=f"family generic needs {missing}"):
        find_family("generic", given)


def test_every_family_reads_nothing_calmly() -> None:
    for family in FAMILIES.values():
        assert not isinstance(family.read(Head({}, SIDE, SIDE)), Reading)
