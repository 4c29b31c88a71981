"""`python -m boxwise_benchmarks.footprint`: the server's memory by size and number of images."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from boxwise import Client
from boxwise_benchmarks.measure import closed_loop, machine
from boxwise_export.demo import prepare_demo
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import LAYOUTS, ServingConfig
from boxwise_perf.images import noise
from boxwise_perf.memory import held_mib
from boxwise_runtime.cache import cache_folder
from boxwise_runtime.launcher import ServerOptions, TritonProcess

# Width and height, up to 2 megapixels: VGA, COCO, HD, Full HD, and a portrait.
COMMON_SIZES = ((640, 480), (500, 375), (1280, 720), (1920, 1080), (1080, 1620))
CONCURRENCY = 4
LARGE_SIZES = ((3000, 2000), (4000, 3000), (6000, 4000))


@dataclass(frozen=True)
class Footprint:
    """Memory in MiB: PSS of all processes, with /dev/shm counted once.

    Attributes:
        first: number of requests before `common`.
        requests: number of requests before `later`.
        started: memory when ready.
        common: memory after `first` requests of images up to 2 megapixels.
        later: memory after `requests` of them.
        large: megapixels of the largest image so far -> memory after it.
    """

    first: int
    requests: int
    started: float
    common: float
    later: float
    large: dict[float, float]

    @property
    def mib_per_megapixel(self) -> float:
        """Growth per megapixel of the largest image sent so far, beyond 2 megapixels."""
        megapixels, held = max(self.large.items())
        return (held - self.later) / (megapixels - 2.0736)


def measure_footprint(repository: Path, *, first: int = 200, requests: int = 2000) -> Footprint:
    """Measure memory while sending `requests` images of mixed sizes, then a few large ones."""
    images = [noise(width, height, seed) for seed, (width, height) in enumerate(COMMON_SIZES)]
    options = ServerOptions.on_free_ports(repository)
    with TritonProcess.start(options) as server, Client(options.grpc_url) as client:
        started = held_mib(server.pid)
        closed_loop(client.predict, images, CONCURRENCY, requests=first)
        common = held_mib(server.pid)
        closed_loop(client.predict, images, CONCURRENCY, requests=requests - first)
        later = held_mib(server.pid)
        large = {}
        for width, height in LARGE_SIZES:
            # Twice as many as are in flight, so that every instance gets one.
            closed_loop(
                client.predict,
                [noise(width, height, seed=0)],
                CONCURRENCY,
                requests=2 * CONCURRENCY,
            )
            large[width * height / 1e6] = held_mib(server.pid)
    return Footprint(first, requests, started, common, later, large)


def main() -> None:
    """Measure the demo's pipeline, and print the figures or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m boxwise_benchmarks.footprint", description=__doc__
    )
    parser.add_argument("--requests", type=int, default=2000, help="in all (default 2000)")
    parser.add_argument("--layout", choices=LAYOUTS, default="fused", help="(default fused)")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="boxwise-footprint-") as folder:
        demo = Path(folder, "demo")
        prepare_demo(cache_folder(), demo, report=lambda _: None)
        change_layout(demo, None, ServingConfig(options.layout))
        memory = measure_footprint(demo, requests=options.requests)
    if options.json:
        print(
            json.dumps({"machine": machine(), "layout": options.layout, **asdict(memory)}, indent=2)
        )
        return
    print(
        f"{machine()}\nlayout {options.layout}, MiB of PSS, /dev/shm included: "
        f"{memory.started:.0f} when ready,"
    )
    print(f"  {memory.common:.0f} after {memory.first} requests of up to 2 megapixels,")
    print(
        f"  {memory.later:.0f} after {memory.requests}, {memory.later - memory.common:+.1f} since"
    )
    for megapixels, held in memory.large.items():
        print(f"  {held:.0f} after images of {megapixels:g} megapixels")
    print(f"  {memory.mib_per_megapixel:.0f} for each megapixel of the largest image beyond 2")


if __name__ == "__main__":
    main()
