"""The layouts `fused` and `bls` answer as the ensemble does,
to the last bit and the last word.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from contract_support.calls import Triton, assert_same
from contract_support.servers import copy_pipeline, launched
from contract_support.synthetic import make_dots, png

from boxwise import Cancelled, Client, InvalidArgument, InvalidImage
from boxwise_export.repository.manifest import read_manifests
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.runner import load_runner
from boxwise_export.repository.serving_config import LAYOUTS, Layout, ServingConfig
from boxwise_runtime.launcher import LaunchError, ServerOptions, TritonProcess
from boxwise_runtime.warmup import IMAGE

FORMER_NAMES = {
    "boxwise_runtime.python_backend": "boxwise_runtime.triton",
    "boxwise_runtime.pipeline_runner": "boxwise_runtime.chain",
    "boxwise_runtime.bls": "boxwise_runtime.glued",
    "PipelineModel": "ChainModel",
    "BlsPipeline": "Glued",
    "BlsModel": "GluedModel",
}
PIPELINES = ("boxwise", "centernet", "dots", "thousand", "whole")


@pytest.fixture(scope="module", params=["fused", "bls"])
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def relaid(repository: Path, layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipelines, in another layout from what was published."""
    folder = tmp_path_factory.mktemp(layout) / "repository"
    shutil.copytree(repository, folder, ignore=shutil.ignore_patterns("scaled*", "street*"))
    for name in read_manifests(folder):
        change_layout(folder, name, ServingConfig(layout))
    return folder


@pytest.fixture(scope="module")
def other(relaid: Path) -> Iterator[Triton]:
    options = ServerOptions.on_free_ports(relaid)
    with launched(options):
        yield Triton(options.grpc_url, f"http://{options.reachable_host}:{options.http_port}")


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_images_of_every_kind_are_answered_alike(
    triton: Triton, other: Triton, photos: dict[str, bytes], pipeline: str
) -> None:
    images = (
        [png(make_dots(count).draw()) for count in (0, 1, 2, 100, 101)]
        if pipeline != "whole"
        else []
    )
    images += [png(np.full((1, 1, 3), 200, np.uint8)), png(np.full((40, 300, 3), 90, np.uint8))]
    images += list(photos.values()) if pipeline in ("boxwise", "centernet") else []
    for image in images:
        assert_same(triton.predict(pipeline, image), other.predict(pipeline, image))


def test_a_thousand_objects(triton: Triton, other: Triton) -> None:
    image = png(make_dots(1000).draw())
    said = other.predict("thousand", image)
    assert len(said["boxes"]) == 1000
    assert_same(triton.predict("thousand", image), said)


def test_frames_and_options(triton: Triton, other: Triton) -> None:
    frame = make_dots(30).draw()
    for options in (
        {},
        {"score_threshold": 0.8},
        {"max_detections": 3},
        {"class_filter": [0, 2]},
        {"iou_threshold": 0},
    ):
        assert_same(
            triton.predict_raw("dots", frame, **options),
            other.predict_raw("dots", frame, **options),
        )


@pytest.mark.parametrize(
    "inputs",
    [
        {"image": np.zeros(0, np.uint8)},
        {"image": np.frombuffer(b"no image", np.uint8)},
        {"score_threshold": np.ones(1, np.float32)},
        {
            "image": np.frombuffer(png(make_dots(1).draw()), np.uint8),
            "score_threshold": np.full(1, 2, np.float32),
        },
        {
            "image": np.frombuffer(png(make_dots(1).draw()), np.uint8),
            "class_filter": np.zeros(0, np.int32),
        },
    ],
    ids=["empty", "no image", "missing", "threshold", "class filter"],
)
def test_refusals_have_the_same_words(
    triton: Triton, other: Triton, inputs: dict[str, np.ndarray]
) -> None:
    one, two = triton.refusal("dots", inputs), other.refusal("dots", inputs)
    assert (one.status, one.sentence.removeprefix("in ensemble 'dots', ")) == (
        two.status,
        two.sentence,
    )
    assert two.status == "INVALID_ARGUMENT"


def test_the_sdk_knows_the_causes(other: Triton) -> None:
    with Client(other.grpc_url, pipeline="dots") as client:
        with pytest.raises(InvalidImage, match=r"^image: not a JPEG"):
            client.predict(b"no image")
        with pytest.raises(
            InvalidArgument, match=r"^class_filter: expected class ids from 0 to 2, got 7"
        ):
            client.predict(png(make_dots(1).draw()), class_filter=[7])


def test_what_the_pipeline_says_of_itself_stays(triton: Triton, other: Triton) -> None:
    assert triton.infer("boxwise_info", {})["info"] == other.infer("boxwise_info", {})["info"]


def test_many_at_once_are_each_answered(other: Triton) -> None:
    with Client(other.grpc_url, pipeline="dots") as client, ThreadPoolExecutor(16) as pool:
        counts = [number % 40 for number in range(200)]
        files = {count: png(make_dots(count).draw()) for count in set(counts)}
        assert [
            len(said) for said in pool.map(client.predict, [files[count] for count in counts])
        ] == counts


# A fused network cannot be counted from outside.
@pytest.mark.parametrize("layout", ["bls"], indirect=True)
def test_a_call_that_nobody_waits_for_runs_no_more_networks(other: Triton) -> None:
    """It ends while its image, which takes 0.2 s, is being decoded:
    the detector never hears of it.
    """
    noise = np.random.default_rng(0).integers(0, 256, (4500, 5000, 3), np.uint8)
    large = cv2.imencode(".jpg", noise)[1].tobytes()
    with Client(other.grpc_url, pipeline="dots", timeout_s=60) as client:
        assert len(client.predict(large, score_threshold=1)) == 0
        time.sleep(0.3)  # Triton counts an inference after it has answered
        before = detections(other)
        pending = client.submit(large)
        time.sleep(0.12)
        pending.cancel()
        with pytest.raises(Cancelled):
            pending.result(10)
        time.sleep(1)
        assert detections(other) == before


def detections(server: Triton) -> int:
    return int(
        server.client.get_inference_statistics("dots_detector").model_stats[0].inference_count
    )


def test_the_runner_of_any_layout_is_the_same(repository: Path, relaid: Path) -> None:
    frame = make_dots(7).draw()
    one, two = (load_runner(each, "dots")({"raw_frame": frame}) for each in (repository, relaid))
    assert_same(
        *({name: each[name] for name in each if "seconds" not in name} for each in (one, two))
    )
    assert len(one["boxes"]) == 7


def test_the_way_back_is_what_was_there(repository: Path, relaid: Path, tmp_path: Path) -> None:
    shutil.copytree(relaid, tmp_path / "back")
    publication = change_layout(tmp_path / "back", "dots", ServingConfig("ensemble"))
    first = read_manifests(repository)["dots"].revision()
    for model, files in first.digests.items():
        if model not in ("dots", "dots_raw"):  # these name the versions of the others
            assert publication.revision.digests[model] == files


@pytest.mark.parametrize("which", LAYOUTS)
def test_a_version_that_cannot_answer_its_warm_up_is_not_served(
    repository: Path, which: Layout, tmp_path: Path
) -> None:
    own = copy_pipeline(repository, "dots", tmp_path / "repository")
    change_layout(own, "dots", ServingConfig(which))
    for image in own.rglob(IMAGE):
        image.unlink()  # it may be the same file as the other repository's
        image.write_bytes(b"no image")
    with pytest.raises(
        LaunchError, match=r"fails its warm-up request and is not served .*image: not a JPEG"
    ):
        TritonProcess.start(ServerOptions.on_free_ports(own))


@pytest.mark.parametrize("which", LAYOUTS)
def test_an_image_that_comes_again_is_answered_from_memory_where_asked_for(
    repository: Path, which: Layout, tmp_path: Path
) -> None:
    own = copy_pipeline(repository, "dots", tmp_path / "repository")
    change_layout(own, "dots", ServingConfig(which, response_cache=True))
    options = replace(ServerOptions.on_free_ports(own), response_cache_mb=16)
    with launched(options):
        server = Triton(options.grpc_url, "")
        image = png(make_dots(5).draw())
        answers = [server.predict("dots", image) for _ in range(3)]
        assert_same(answers[0], answers[2])
        assert len(server.predict("dots", image, max_detections=2)["boxes"]) == 2
        (said,) = server.client.get_inference_statistics("dots").model_stats
        assert (said.inference_stats.cache_hit.count, said.inference_stats.cache_miss.count) == (
            2,
            2,
        )


def test_a_repository_of_boxwise_0_1_is_served(relaid: Path, tmp_path: Path) -> None:
    """Its model.py files import modules and classes by their former names."""
    repository = copy_pipeline(relaid, "dots", tmp_path / "repository")
    for file in repository.rglob("model.py"):
        text = file.read_text()
        for name, former in FORMER_NAMES.items():
            text = text.replace(name, former)
        file.chmod(0o644)
        file.write_text(text)
    options = ServerOptions.on_free_ports(repository)
    with TritonProcess.start(options), Client(options.grpc_url, pipeline="dots") as client:
        assert len(client.predict(png(make_dots(3).draw()))) == 3
