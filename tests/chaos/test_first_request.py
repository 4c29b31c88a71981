"""A server that says that it is ready is warm: its first request takes as long as its hundredth.

The demo's pair, a server started several times in each layout; the image is none that it was warmed
up with, of another size and kind. Measured are the first request and the median of the 81st to the
100th of the same server, the SDK's own first call apart. Of both the best of all servers counts:
what else runs on a machine makes a request longer and never shorter. Nothing that Triton or boxwise
counts has counted the warm-up.
"""

from __future__ import annotations

import statistics
import time
import urllib.request
from pathlib import Path

import pytest
from contract_support.trials import Trial

from boxwise import Client
from boxwise_export.demo import prepare_demo
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import LAYOUTS, Layout, ServingConfig
from boxwise_runtime.cache import cache_folder
from boxwise_runtime.launcher import ServerOptions, TritonProcess

MOST = 1.6  # without a warm-up it is 1.7 to 2.8, by the layout


@pytest.fixture(scope="module")
def photos_and_repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path]:
    out = tmp_path_factory.mktemp("demo") / "repository"
    return prepare_demo(cache_folder(), out, lambda line: None), out


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_request_is_as_fast_as_the_hundredth(
    trial: Trial, photos_and_repository: tuple[list[Path], Path], layout: Layout
) -> None:
    photos, repository = photos_and_repository
    image = photos[1].read_bytes()
    change_layout(repository, "boxwise", ServingConfig(layout))
    runs: list[list[float]] = []
    servers = trial.of(short=4, long=20)
    for _ in range(servers):
        with TritonProcess.start(ServerOptions.on_free_ports(repository)) as server:
            with urllib.request.urlopen(server.options.metrics_url) as metrics:
                counted = metrics.read().decode()
            assert "boxwise_images_total{" not in counted
            assert not any(
                line.split()[-1] != "0"
                for line in counted.splitlines()
                if "nv_inference_count{" in line
            )
            runs.append(durations(server.options.grpc_url, image))
        trial.progress(len(runs), servers, "servers")
    first = min(run[0] for run in runs)
    later = min(statistics.median(run[80:]) for run in runs)
    trial.measured(
        servers=servers, first_ms=first * 1e3, hundredth_ms=later * 1e3, ratio=first / later
    )
    assert first <= MOST * later


def durations(url: str, image: bytes) -> list[float]:
    """Seconds of each of a hundred requests, one after the other."""
    with Client(url, timeout_s=30) as client:
        client.info()
        taken = []
        for _ in range(100):
            start = time.perf_counter()
            assert len(client.predict(image))
            taken.append(time.perf_counter() - start)
    return taken
