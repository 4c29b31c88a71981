"""What serving holds in memory: with pictures of common sizes, for each extra megapixel, and thousands later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boxwise import Client
from boxwise_perf.measure import closed_loop
from boxwise_perf.memory import held_mib
from boxwise_perf.pictures import noise
from boxwise_runtime.launcher import ServerOptions, TritonProcess

# Width and height, up to 2 megapixels: VGA, COCO, HD, Full HD, and a portrait.
COMMON_SIZES = ((640, 480), (500, 375), (1280, 720), (1920, 1080), (1080, 1620))
CONCURRENCY = 4
LARGE_SIZES = ((3000, 2000), (4000, 3000), (6000, 4000))


@dataclass(frozen=True)
class Footprint:
    """MiB, PSS of all processes with /dev/shm counted once.

    Attributes:
        started: when ready.
        common: after `first` requests of pictures up to 2 megapixels.
        later: after `requests` of them.
        large: megapixels of the largest picture so far -> held after it.
    """

    first: int
    requests: int
    started: float
    common: float
    later: float
    large: dict[float, float]

    @property
    def mib_per_megapixel(self) -> float:
        """Growth with the largest picture ever sent, from 2 megapixels on."""
        megapixels, held = max(self.large.items())
        return (held - self.later) / (megapixels - 2.0736)


def measure_footprint(repository: Path, *, first: int = 200, requests: int = 2000) -> Footprint:
    """Send `requests` pictures of mixed sizes, then a few large ones, and look at the memory on the way."""
    pictures = [noise(width, height, seed) for seed, (width, height) in enumerate(COMMON_SIZES)]
    options = ServerOptions.on_free_ports(repository)
    with TritonProcess.start(options) as server, Client(options.grpc_url) as client:
        started = held_mib(server.pid)
        closed_loop(client.predict, pictures, CONCURRENCY, requests=first)
        common = held_mib(server.pid)
        closed_loop(client.predict, pictures, CONCURRENCY, requests=requests - first)
        later = held_mib(server.pid)
        large = {}
        for width, height in LARGE_SIZES:
            # Twice as many as are in flight, so that every instance has seen one.
            closed_loop(client.predict, [noise(width, height, seed=0)], CONCURRENCY, requests=2 * CONCURRENCY)
            large[width * height / 1e6] = held_mib(server.pid)
    return Footprint(first, requests, started, common, later, large)
