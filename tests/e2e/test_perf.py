"""`boxwise perf` on a real Triton with models that answer constants; no test asserts a time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from contract_support.calls import Triton

from boxwise_export.demo import prepare_demo
from boxwise_perf.calibrate import calibrate
from boxwise_perf.null import nullify
from boxwise_perf.result import load
from boxwise_runtime.cache import cache_folder

SMALL = ("--synthetic", "64x48", "--seed", "1")
PERF = (str(Path(sys.executable).with_name("boxwise")), "perf")


@pytest.fixture(scope="module")
def null(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's pipeline, its models replaced by ones that answer constants."""
    folder = tmp_path_factory.mktemp("null")
    prepare_demo(cache_folder(), folder / "demo", lambda line: None)
    nullify(folder / "demo", folder / "null")
    return folder / "null"


def perf(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PERF, *map(str, arguments)], capture_output=True, text=True, timeout=280, check=False)


def document(*arguments: object) -> dict[str, Any]:
    done = perf(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_sweep_of_a_repository(null: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    done = perf("run", null, *SMALL, "--concurrency", "1,3", "--duration", "1s", "--warm-up", "0.5s", "--out", file)
    assert done.returncode == 0, done.stderr
    for words in (
        "concurrency 3",
        "preprocess",
        "boxes an image: 5.0 mean",
        "synthetic 64x48, seed 1",
        "onnxruntime 1.",
    ):
        assert words in done.stdout
    result = load(file)
    assert result.target is not None
    assert set(result.target.digests) == {"boxwise_detector", "boxwise_classifier_imagenet"}
    for trial in result.trials:
        assert trial.boxes_per_s.value == pytest.approx(5 * trial.images_per_s.value, rel=1e-6)
        stages = {stage.name: stage for stage in trial.stages}
        assert list(stages) == ["", "preprocess", "detector", "nms", "classifier_imagenet", "assemble"]
        assert stages["classifier_imagenet"].mean_batch == pytest.approx(5, rel=0.05)
        assert stages[""].requests == pytest.approx(trial.requests, rel=0.2)
        assert trial.server is not None
        assert trial.server.cpu_cores > 0
        assert trial.server.memory_mib > 100


def test_boxes_of_a_stated_distribution(null: Path) -> None:
    found = document(
        "run", null, *SMALL, "--boxes", "poisson:4", "--concurrency", 2, "--duration", "1.5s", "--warm-up", "0.2s"
    )
    (trial,) = found["trials"]
    assert found["pictures"]["boxes"] == "poisson, mean 4,"
    assert trial["boxes_per_image"]["mean"] == pytest.approx(4, abs=1)
    assert trial["boxes_per_image"]["max"] > 5


def test_a_server_that_is_not_ours(triton: Triton) -> None:
    found = document("run", "--url", triton.grpc_url, *SMALL, "--rate", 3, "--arrivals", "fixed", "--duration", "3s")
    (trial,) = found["trials"]
    assert trial["requests"] == 9
    assert trial["server"] is None
    assert trial["notes"] == ["CPU and memory of the server are not known: it is not ours (--url)"]
    assert trial["send_lag_ms"]["max"] >= 0
    assert [stage["name"] for stage in trial["stages"]][:2] == ["", "preprocess"]


def test_the_highest_rate_at_a_latency(null: Path, tmp_path: Path) -> None:
    """A target that any machine holds; what the search does is tested in tests/perf/test_search.py."""
    file, arguments = tmp_path / "slo.json", ("--duration", "1s", "--confirm", "1s", "--warm-up", "0.2s")
    done = perf("slo", "--p99", "20s", null, *SMALL, *arguments, "--out", file)
    found = load(file).slo
    assert found is not None
    assert (done.returncode == 0) == (found.rate is not None), "a loaded machine can void every try"
    assert "p99 within 20000 ms" in done.stdout
    assert found.tries[0].phase == "search"


def test_two_repositories_are_compared(null: Path) -> None:
    found = document("compare", null, null, *SMALL, "--pairs", 6, "--block", "300ms", "--warm-up", "0.3s")
    (comparison,) = found["comparisons"]
    assert len(comparison["pairs"]) == 6
    assert comparison["throughput"]["low"] <= comparison["throughput"]["value"] <= comparison["throughput"]["high"]


def test_ctrl_c_leaves_nothing_running(null: Path, tmp_path: Path) -> None:
    command = [*PERF, "run", str(null), *SMALL, "--duration", "1min", "--out", str(tmp_path / "run.json")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "warm-up" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    deadline = time.monotonic() + 10
    while any(child.is_running() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert not list(tmp_path.iterdir())


def test_a_repository_is_compared_with_itself_many_times(null: Path, figures: list[str]) -> None:
    """Half a minute: at a confidence of 95 % one of twenty may differ; ten thousand such tests may fail once.

    Its long form is `boxwise_perf.calibrate`.
    """
    found = calibrate(null, compares=10, pairs=8, seconds=0.15)
    figures.append(
        f"perf compare with itself: {found.false_alarms} of {found.compares} differ, intervals "
        f"+-{found.half_width:.1%}; a slowdown of 5 % found in {found.found}"
    )
    assert found.chance > 1e-4
