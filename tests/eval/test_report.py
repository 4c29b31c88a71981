"""An evaluation: a set that cannot be measured is an error, and a server that is slow for the
moment is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxwise import (
    Client,
    InvalidImage,
    Overloaded,
    PipelineInfo,
    ServerError,
    StageFailed,
    Unavailable,
)
from boxwise.testing import FakeServer
from boxwise_eval.datasets import load
from boxwise_eval.errors import EvalError
from boxwise_eval.report import evaluate
from boxwise_eval.run import Detections, Predict, Thresholds, predictor

DETECTOR = {
    "labels": ["car", "dog"],
    "score_threshold": 0.5,
    "iou_threshold": 0.5,
    "max_detections": 100,
}
KINDS = {"name": "kind", "labels": ["cat", "cup"], "top_k": 1, "only": None}


def info(detector: dict[str, Any] | None = DETECTOR, *classifiers: dict[str, Any]) -> PipelineInfo:
    fields = {
        "contract": 1,
        "pipeline": "street",
        "detector": detector,
        "classifiers": list(classifiers),
    }
    return PipelineInfo.from_json(json.dumps(fields))


def finds(*boxes: tuple[float, ...], class_id: int = 0) -> Predict:
    """A pipeline that finds these boxes on every image."""
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), 0.9, np.float32),
        np.full(len(boxes), class_id, np.int64),
        {"kind": np.zeros((len(boxes), 1), np.int64)},
    )
    return lambda path, thresholds: found


@pytest.fixture
def labelled(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """A set of one car that covers its image."""
    write_image("images/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("val: images\nnames: [car]\n")
    return tmp_path


def test_a_set_that_is_matched(labelled: Path) -> None:
    report = evaluate(finds((0, 0, 100, 50)), info(), load(labelled), Thresholds())
    assert report.detection is not None
    assert report.detection.map50 == pytest.approx(1)
    assert report.notes == ()
    assert report.document()["split"] == "val"


def test_a_set_without_objects_measures_nothing(labelled: Path) -> None:
    (labelled / "labels" / "a.txt").write_text("")
    with pytest.raises(EvalError, match="none of the 1 images has an object in its labels"):
        evaluate(finds((0, 0, 100, 50)), info(), load(labelled), Thresholds())


def test_numbers_that_match_nothing_are_an_error(labelled: Path) -> None:
    (labelled / "data.yaml").unlink()
    with pytest.raises(
        EvalError,
        match=r"no detection is on a labelled object .*its numbers may be of other classes",
    ):
        evaluate(finds((0, 0, 100, 50), class_id=1), info(), load(labelled), Thresholds())


def test_a_pipeline_that_finds_nothing_is_an_error(labelled: Path) -> None:
    with pytest.raises(EvalError, match="the pipeline finds nothing in these images"):
        evaluate(finds(), info(), load(labelled), Thresholds())


def test_a_pipeline_that_finds_other_things_is_noted(labelled: Path) -> None:
    """The names say that the classes are the same, so that 0 is a figure."""
    report = evaluate(finds((0, 0, 5, 5)), info(), load(labelled), Thresholds())
    assert report.detection is not None
    assert report.detection.map50 == 0
    assert "no detection is on a labelled object" in report.notes[0]


def test_names_that_the_pipeline_lacks_are_an_error(labelled: Path) -> None:
    (labelled / "data.yaml").write_text("val: images\nnames: [zebra]\n")
    with pytest.raises(
        EvalError, match="classes that the pipeline does not know: zebra; it knows car, dog"
    ):
        evaluate(finds((0, 0, 100, 50)), info(), load(labelled), Thresholds())


def test_numbers_without_names_are_noted(labelled: Path) -> None:
    (labelled / "data.yaml").unlink()
    report = evaluate(finds((0, 0, 100, 50)), info(), load(labelled), Thresholds())
    assert report.notes == (
        "classes without names (data.yaml, classes.txt) are taken for the pipeline's",
    )


def test_folders_that_no_classifier_knows_are_an_error(
    tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    for folder in ("cat", "n01440764"):
        write_image(f"{folder}/a.png")
    with pytest.raises(EvalError, match="no classifier has the labels n01440764"):
        evaluate(finds((0, 0, 1, 1)), info(None, KINDS), load(tmp_path), Thresholds())


@pytest.mark.parametrize("error", [Overloaded, StageFailed, Unavailable])
def test_what_fails_for_the_moment_is_sent_again(
    tmp_path: Path, write_image: Callable[..., Path], error: type
) -> None:
    photo, waits = write_image("a.png"), list[float]()
    with (
        FakeServer(labels=["car"]) as server,
        Client(server.url, pipeline="boxwise", retry=None) as client,
    ):
        server.find("car", (0, 0, 10, 10), 0.75)
        server.fail(error, times=2)
        found = predictor(client, retries=2, pause=waits.append)(photo, Thresholds())
        assert found.scores.tolist() == [0.75]
        assert waits == [1, 2]
        server.fail(error, times=2)
        with pytest.raises(EvalError, match=r"a\.png: .*, 2 times; raise --timeout"):
            predictor(client, retries=1, pause=waits.append)(photo, Thresholds())


@pytest.mark.parametrize(
    ("error", "raised"), [(InvalidImage, EvalError), (ServerError, ServerError)]
)
def test_what_fails_for_good_is_not(
    tmp_path: Path, write_image: Callable[..., Path], error: type, raised: type[Exception]
) -> None:
    with FakeServer(labels=["car"]) as server, Client(server.url, pipeline="boxwise") as client:
        server.fail(error, times=1)
        with pytest.raises(raised):
            predictor(client, pause=lambda _: pytest.fail("it waits"))(
                write_image("a.png"), Thresholds()
            )
