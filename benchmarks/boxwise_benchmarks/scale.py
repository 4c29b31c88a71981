"""`python -m boxwise_benchmarks.scale`: N servers behind the balancing client, against N times one.

Each server is a real Triton with the whole pipeline in one process, which sleeps until a request
has taken a set time, as one does that waits for a GPU: so it is held to a known rate, and a few
cores are enough for many servers.
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

_IMAGE = (640, 480)  # as COCO's photos
_IN_FLIGHT = 2  # for each server: one that runs, one that waits
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
    """So many servers: images/s (the median of the rounds), its share of N times one, and p50 in
    milliseconds.
    """

    servers: int
    rate: float
    share: float
    p50_ms: float


def sleeping(repository: Path, to: Path, seconds: float) -> None:
    """Copy a repository of null models, fused into one process that answers after `seconds`."""
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
    """Serve the repository so many times at once, and load all of them through one client; blocks
    alternate.

    Args:
        repository: of `sleeping`.
        counts: numbers of servers, 1 among them.
        images: encoded files.
        seconds: of each block.
        rounds: of blocks.
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
            ][1:]  # the first is to warm up
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
    """Requests/s of the client alone, against a server that costs nothing: no number of servers
    takes more from it.
    """
    with null_server() as url, Client(url) as client:
        # The null server has none.
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
