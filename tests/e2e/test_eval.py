"""`boxwise eval` against the real server: it must give the reference figures of the labelled
photos.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from contract_support.calls import Triton
from contract_support.command import boxwise
from contract_support.servers import copy_pipeline
from PIL import Image


def boxwise_eval(*arguments: object) -> subprocess.CompletedProcess[str]:
    return boxwise("eval", *arguments)


def document(*arguments: object) -> dict[str, Any]:
    done = boxwise_eval(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("pipeline", "expected", "working"), [("centernet", 0.363, 0.4), ("street", 0.342, 0.25)]
)
def test_the_reference_figures(
    triton: Triton,
    shared_data: Path,
    figures: list[str],
    tmp_path: Path,
    pipeline: str,
    expected: float,
    working: float,
) -> None:
    page = tmp_path / "page.html"
    said = document(
        "--url",
        triton.grpc_url,
        "--pipeline",
        pipeline,
        "--data",
        shared_data / "coco",
        "--html",
        page,
    )
    figures.append(
        f"boxwise eval of {pipeline} on {said['pictures']} COCO photos: mAP {said['map']:.4f}"
    )
    assert said["map"] == pytest.approx(expected, abs=0.005)
    assert said["thresholds"] == {
        "score": 0.01,
        "iou": 0.65,
        "max_detections": 100,
        "working": working,
    }
    assert 0.3 < said["precision"] < 0.9
    assert 0.2 < said["recall"] < 0.9
    assert said["ap_small"] < said["ap_medium"] < said["ap_large"]
    assert len(said["classes"]) > 40
    text = page.read_text()
    assert text.count('<figure class="narrow">') == 12
    assert f"{said['map']:.4f}" in text
    assert not re.search(r'(src|href)="(?!data:)', text), "the page needs nothing beside it"


def test_a_repository_is_served_for_the_time(
    repository: Path, photos: dict[str, bytes], tmp_path: Path
) -> None:
    """A set of one photo, with a box drawn by hand: the cat of the demo."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / "cat.png").write_bytes(photos["chelsea"])
    (tmp_path / "labels" / "cat.txt").write_text("15 0.46 0.5 0.92 1.0\n")
    own = copy_pipeline(repository, "boxwise", tmp_path / "repository")
    done = boxwise_eval(own, "--data", tmp_path, "--html", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert "mAP50" in done.stdout
    assert re.search(r"cat .* 0\.[6-9]|cat .* 1\.0", done.stdout)
    assert "imagenet: not measured, because the set has no labels for it" in done.stdout
    wanted = boxwise_eval(repository, "--data", tmp_path)
    assert wanted.returncode == 2
    assert "say which with --pipeline" in wanted.stderr


def test_a_classification_pipeline(triton: Triton, tmp_path: Path) -> None:
    """`dots` has a classifier that says the mean colour; a whole image of one colour is of the
    folder's name.
    """
    for name, colour in (("value 0", "black"), ("value 1", "white")):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), colour).save(tmp_path / "set" / name / "a.png")
    said = document("--url", triton.grpc_url, "--pipeline", "whole", "--data", tmp_path / "set")
    assert said["map"] is None
    assert said["pictures"] == 2
    for name in ("stretched", "centred"):
        classifier = said["classifiers"][name]
        assert classifier["count"] == 2
        assert 0 <= classifier["top1"] <= classifier["top5"] <= 1
        assert sum(each["count"] for each in classifier["confusion"]) == 2


def test_what_is_wrong_is_one_sentence(
    triton: Triton, repository: Path, photos: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(photos["chelsea"])
    for arguments, code, sentence in (
        (
            [repository, "--url", triton.grpc_url, "--data", tmp_path],
            2,
            "expected a REPO, or the --url of a server",
        ),
        (["--data", tmp_path], 2, "expected a REPO, or the --url of a server"),
        (["--url", triton.grpc_url, "--data", tmp_path / "x"], 1, "no such folder"),
        (
            ["--url", triton.grpc_url, "--data", tmp_path],
            1,
            "has a detector: expected a set with boxes, got image folders",
        ),
        (["--url", "127.0.0.1:9", "--data", tmp_path], 1, "127.0.0.1:9"),
        ([tmp_path / "x", "--data", tmp_path], 1, str(tmp_path / "x")),
    ):
        done = boxwise_eval(*arguments)
        assert done.returncode == code, done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    shutil.rmtree(tmp_path / "cat")
