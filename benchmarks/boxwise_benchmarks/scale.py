"""`python -m boxwise_benchmarks.scale`: N servers with the client's balancing, against N times one.

Each server is a real Triton with a fused pipeline that sleeps until a request has taken a set time,
like one that waits for a GPU. So its rate is known, and a few cores are enough for many servers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from boxwise import Client, PipelineInfo
from boxwise_benchmarks.measure import closed_loop, machine
from boxwise_benchmarks.null_server import null_server
from boxwise_export.demo import prepare_demo
from boxwise_export.repository.atomic_dir import write_file
from boxwise_export.repository.manifest import find_manifest
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_perf.images import synthetic
from boxwise_perf.null import nullify
from boxwise_runtime.cache import cache_folder
from boxwise_runtime.launcher import ServerOptions, TritonProcess

_IMAGE = (640, 480)  # like COCO's photos
_IN_FLIGHT = 2  # per server: one running, one queued
_THREADS = 4  # of the client at its own limit

_SLEEPING = """
import time

from boxwise_runtime.pipeline_runner import Fused
from boxwise_runtime.python_backend import PipelineModel


class TritonPythonModel(PipelineModel):
    stage_type = Fused

    def _answer(self, request, inputs):
        until = time.perf_counter() + {seconds}
        outputs = super()._answer(request, inputs)
        time.sleep(max(0.0, until - time.perf_counter()))
        return outputs
"""


@dataclass(frozen=True)
class Scaled:
    """The load on N servers.

    Attributes:
        servers: their number.
        rate: images/s, median of the rounds.
        share: rate / (N times the rate of one).
        p50_ms: latency, median of the rounds.
    """

    servers: int
    rate: float
    share: float
    p50_ms: float


def sleeping(repository: Path, to: Path, seconds: float) -> None:
    """Copy a repository, fused into one process that responds after `seconds`."""
    shutil.copytree(repository, to)
    change_layout(to, None, ServingConfig("fused", instances={"fused": 1}))
    manifest = find_manifest(to)
    version = manifest.revision().models[manifest.pipeline]
    write_file(
        to / manifest.pipeline / str(version) / "model.py",
        _SLEEPING.format(seconds=seconds).encode(),
    )


def measure_scale(
    repository: Path, counts: Sequence[int], images: Sequence[bytes], *, seconds: float, rounds: int
) -> list[Scaled]:
    """Serve copies of a repository concurrently, and load groups of them with one client each.

    Args:
        repository: of `sleeping`.
        counts: numbers of servers, including 1.
        images: encoded files.
        seconds: duration of a block.
        rounds: number of blocks per count.
    """
    with ExitStack() as stack:
        urls = []
        for _ in range(max(counts)):
            options = ServerOptions.on_free_ports(repository)
            stack.enter_context(TritonProcess.start(options))
            urls.append(options.grpc_url)
        clients = {count: stack.enter_context(Client(urls[:count])) for count in counts}
        runs = {
            count: [
                closed_loop(clients[count].predict, images, _IN_FLIGHT * count, seconds=seconds)
                for _ in range(rounds + 1)
            ][1:]  # the first is the warm-up
            for count in counts
        }
    rates = {count: statistics.median(run.rate for run in own) for count, own in runs.items()}
    return [
        Scaled(
            count,
            rates[count],
            rates[count] / (count * rates[1]),
            statistics.median(run.median_ms for run in own),
        )
        for count, own in runs.items()
    ]


def client_limit(images: Sequence[bytes], seconds: float) -> float:
    """Return the requests/s of the client with the null server: its limit with any servers."""
    with null_server() as url, Client(url) as client:
        # The null server has no info.
        client._session.info = PipelineInfo(1, "boxwise", None, (), {}, {})
        closed_loop(client.predict, images, _THREADS, seconds=1)
        return closed_loop(client.predict, images, _THREADS, seconds=seconds).rate


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m boxwise_benchmarks.scale", description=__doc__)
    parser.add_argument(
        "--servers", type=int, nargs="+", default=[1, 2, 4, 8], help="how many (default 1 2 4 8)"
    )
    parser.add_argument(
        "--rate", type=float, default=20.0, help="images/s that each is held to (default 20)"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each block (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="of blocks (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args()

    counts = sorted({1, *options.servers})
    _, images = synthetic(*_IMAGE, seed=0)
    with tempfile.TemporaryDirectory(prefix="boxwise-scale-") as name:
        folder = Path(name)
        prepare_demo(cache_folder(), folder / "demo", report=lambda _: None)
        nullify(folder / "demo", folder / "null")
        sleeping(folder / "null", folder / "sleeping", 1 / options.rate)
        print(f"starting {max(counts)} servers", file=sys.stderr, flush=True)
        found = measure_scale(
            folder / "sleeping", counts, images, seconds=options.seconds, rounds=options.rounds
        )
    limit = client_limit(images, options.seconds)
    if options.json:
        figures = {
            "machine": machine(),
            "servers": [asdict(each) for each in found],
            "client_limit": limit,
        }
        print(json.dumps(figures, indent=2))
        return
    print(
        f"{machine()}\neach server held to {options.rate:g} images/s, medians of "
        f"{options.rounds} rounds\n"
    )
    print(f"{'servers':>8}{'images/s':>11}{'of N x one':>12}{'p50 ms':>9}")
    for each in found:
        print(f"{each.servers:>8}{each.rate:>11.1f}{each.share:>12.3f}{each.p50_ms:>9.1f}")
    print(f"\nthe client's own limit, with these images: {limit:.0f} images/s")


if __name__ == "__main__":
    main()
