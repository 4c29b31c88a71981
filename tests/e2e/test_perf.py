"""`boxwise perf` on a real Triton with models that answer constants; no test asserts a time."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from contract_support.calls import Triton
from contract_support.command import boxwise
from contract_support.servers import BOXWISE, launched, write_tritonserver

from boxwise_benchmarks.calibrate import calibrate
from boxwise_export.repository.atomic_dir import write_file
from boxwise_export.repository.manifest import find_manifest
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_perf import search
from boxwise_perf.generator import Generator
from boxwise_perf.images import requests, synthetic
from boxwise_perf.null import nullify
from boxwise_perf.result import load
from boxwise_perf.trial import NOT_OURS, ONE_MODEL
from boxwise_perf.tune import Objective, neighbours_of
from boxwise_perf.tuner import Tuner
from boxwise_runtime.launcher import ServerOptions
from boxwise_runtime.targets import ONNXRUNTIME

SMALL = ("--synthetic", "64x48", "--seed", "1")


@pytest.fixture(scope="module")
def null(demo_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's pipeline as an ensemble, its models replaced by ones that answer constants."""
    folder = tmp_path_factory.mktemp("null")
    shutil.copytree(demo_repository, folder / "demo")
    change_layout(folder / "demo", None, ServingConfig("ensemble"))
    nullify(folder / "demo", folder / "null")
    return folder / "null"


@pytest.fixture(scope="module")
def fused(null: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as one model, which starts in a third of the time."""
    folder = tmp_path_factory.mktemp("null") / "fused"
    shutil.copytree(null, folder)
    change_layout(folder, None, ServingConfig("fused"))
    return folder


def perf(*arguments: object) -> subprocess.CompletedProcess[str]:
    return boxwise("perf", *arguments)


def document(*arguments: object) -> dict[str, Any]:
    done = perf(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_sweep_of_a_repository(null: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    done = perf(
        "run",
        null,
        *SMALL,
        "--concurrency",
        "1,3",
        "--duration",
        "1s",
        "--warm-up",
        "0.5s",
        "--out",
        file,
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "concurrency 3",
        "preprocess",
        "boxes per image: 5.0 mean",
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
        assert list(stages) == [
            "",
            "preprocess",
            "detector",
            "nms",
            "classifier_imagenet",
            "assemble",
        ]
        assert stages["classifier_imagenet"].mean_batch == pytest.approx(5, rel=0.05)
        assert stages[""].requests == pytest.approx(trial.requests, rel=0.2)
        assert trial.server is not None
        assert trial.server.cpu_cores > 0
        assert trial.server.memory_mib > 100


def test_the_stages_inside_a_fused_pipeline(fused: Path) -> None:
    load = (*SMALL, "--concurrency", 2)
    times = ("--duration", "2.5s", "--warm-up", "1.5s")  # counts are handed over once a second
    (trial,) = document("run", fused, *load, *times)["trials"]
    stages = trial["stages"]
    assert [stage["name"] for stage in stages] == [
        "",
        "preprocess",
        "detector",
        "nms",
        "classifier_imagenet",
        "assemble",
    ]
    assert sum(stage["infer_ms"] for stage in stages[1:]) < stages[0]["infer_ms"] * 1.2
    assert trial["notes"] == []

    options = ServerOptions.on_free_ports(fused)
    with launched(options):  # whose metrics could be anywhere
        times = ("--duration", "0.5s", "--warm-up", "0.2s")
        (trial,) = document("run", "--url", options.grpc_url, *load, *times)["trials"]
    assert [stage["name"] for stage in trial["stages"]] == [""]
    assert trial["notes"] == [ONE_MODEL, NOT_OURS]


def test_boxes_of_a_stated_distribution(fused: Path) -> None:
    found = document(
        "run",
        fused,
        *SMALL,
        "--boxes",
        "poisson:4",
        "--concurrency",
        2,
        "--duration",
        "1.5s",
        "--warm-up",
        "0.2s",
    )
    (trial,) = found["trials"]
    assert found["pictures"]["boxes"] == "poisson, mean 4,"
    assert trial["boxes_per_image"]["mean"] == pytest.approx(4, abs=1)
    assert trial["boxes_per_image"]["max"] > 5


def test_the_highest_rate_at_a_latency(
    fused: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that any machine holds; what the search does is tested in
    tests/perf/test_search.py.
    """
    # It ends after a few short tries, on a loaded machine too.
    monkeypatch.setattr(search, "RESOLUTION", 1)
    monkeypatch.setattr(search, "LOWEST_SHARE", 1 / 2)
    monkeypatch.setattr(search, "NEEDED_TO_CONFIRM", search.NEEDED_FOR_P99)
    file, arguments = (
        tmp_path / "slo.json",
        ("--duration", "0.5s", "--confirm", "0.5s", "--warm-up", "0.2s"),
    )
    done = perf("slo", "--p99", "20s", fused, *SMALL, *arguments, "--out", file)
    assert file.exists(), done.stderr
    found = load(file).slo
    assert found is not None
    assert (done.returncode == 0) == (found.rate is not None), "a loaded machine can void every try"
    assert "p99 within 20000 ms" in done.stdout
    assert found.tries[0].phase == "search"


def test_two_repositories_are_compared(fused: Path) -> None:
    found = document(
        "compare", fused, fused, *SMALL, "--pairs", 6, "--block", "150ms", "--warm-up", "0.3s"
    )
    (comparison,) = found["comparisons"]
    assert len(comparison["pairs"]) == 6
    assert (
        comparison["throughput"]["low"]
        <= comparison["throughput"]["value"]
        <= comparison["throughput"]["high"]
    )


def test_ctrl_c_leaves_nothing_running(fused: Path, tmp_path: Path) -> None:
    command = [
        BOXWISE,
        "perf",
        "run",
        str(fused),
        *SMALL,
        "--duration",
        "1min",
        "--out",
        str(tmp_path / "run.json"),
    ]
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
    assert not any(
        child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children
    )
    assert not list(tmp_path.iterdir())


def test_queue_delays_and_batches_of_a_target_that_batches_reach_its_server(
    null: Path, tmp_path: Path
) -> None:
    """The bundled Triton has no ONNX Runtime backend: Python models that batch stand in for that
    target's networks.
    """
    repository = tmp_path / "repository"
    shutil.copytree(null, repository)
    for model in ("boxwise_detector", "boxwise_classifier_imagenet"):
        config = (repository / model / "1" / "config.pbtxt").read_text()
        batching = config + "dynamic_batching { max_queue_delay_microseconds: 100 }\n"
        write_file(repository / model / "1" / "configs" / "onnxruntime.pbtxt", batching.encode())
    program = write_tritonserver(tmp_path)
    started: list[ServerOptions] = []

    def options(folder: Path) -> ServerOptions:
        server = replace(ServerOptions.on_free_ports(folder), target=ONNXRUNTIME, server=program)
        started.append(server)
        return server

    first = find_manifest(repository).serving()
    assert first.queue_delay_us == 500
    other = replace(first, queue_delay_us=2000, max_batch_size=2)
    assert other in [
        each
        for _, each in neighbours_of(["detector"], 2, ONNXRUNTIME)(replace(other, max_batch_size=4))
    ]
    _, images = synthetic(64, 48, seed=0)
    with (
        Generator(requests(images)) as generator,
        Tuner(
            repository, "boxwise", generator, Objective("throughput", None, (4,)), options,
            pairs=4, block_s=0.2, warm_up_s=0.2,
        ) as tuner,
    ):  # fmt: skip
        score, ratio = tuner.measure(other, first, False)
        served = [
            Triton(each.grpc_url, "").client.get_model_config("boxwise_detector").config
            for each in started
        ]
    assert [each.dynamic_batching.max_queue_delay_microseconds for each in served] == [500, 2000]
    assert [each.max_batch_size for each in served] == [first.max_batch_size, 2]
    assert score > 0
    assert ratio.value > 0


def test_a_repository_is_compared_with_itself_many_times(fused: Path, figures: list[str]) -> None:
    """At a confidence of 95 % one of twenty may differ; ten thousand such tests may fail once.

    Its long form is `boxwise_benchmarks.calibrate`.
    """
    found = calibrate(fused, compares=6, pairs=6, seconds=0.06)
    figures.append(
        f"perf compare with itself: {found.false_alarms} of {found.compares} differ, intervals "
        f"+-{found.half_width:.1%}; a slowdown of 5 % found in {found.found}"
    )
    assert found.chance > 1e-4
