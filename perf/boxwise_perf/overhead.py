"""What serving costs: the ensemble against a bare loop over the same graphs, side by side in one run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from boxwise import Client
from boxwise_perf.baselines.in_process import InProcess
from boxwise_perf.baselines.read import read_recipe
from boxwise_perf.measure import Run, closed_loop
from boxwise_runtime.launcher import ServerOptions, TritonProcess

CONCURRENCY = 4
_PIPELINE = "boxwise"


@dataclass(frozen=True)
class Overhead:
    """Medians over the rounds of one comparison.

    Attributes:
        bare_rate: images/s of the bare loop, the better of its two arrangements.
        bare_arrangement: which that was.
        served_rate: images/s of the ensemble at concurrency 4, its client on the same cores.
        ratio: served / bare, the median of the rounds' own ratios.
        bare_ms: milliseconds of one image in the bare loop alone, one worker.
        served_ms: milliseconds of one request at concurrency 1, client included.
    """

    bare_rate: float
    bare_arrangement: str
    served_rate: float
    ratio: float
    bare_ms: float
    served_ms: float

    @property
    def added_ms(self) -> float:
        """What serving adds to one request."""
        return self.served_ms - self.bare_ms


def measure_overhead(repository: Path, pictures: Sequence[bytes], *, seconds: float, rounds: int) -> Overhead:
    """Compare in interleaved rounds, so that a noisy neighbour disturbs both sides alike.

    Args:
        repository: exported from the demo's pipeline.
        pictures: encoded files.
        seconds: of each block.
        rounds: of blocks.
    """
    with ExitStack() as stack:
        options = ServerOptions.on_free_ports(repository)
        stack.enter_context(TritonProcess.start(options))
        client = stack.enter_context(Client(options.grpc_url, pipeline=_PIPELINE))
        recipe = read_recipe(repository)
        loops = {
            f"{workers} workers x {threads} threads": stack.enter_context(InProcess(recipe, workers, threads))
            for workers, threads in ((2, 1), (1, 2))
        }
        alone = stack.enter_context(InProcess(recipe, 1, 1))
        closed_loop(client.predict, pictures, CONCURRENCY, seconds=seconds)  # warm-up

        bare: dict[str, list[Run]] = {name: [] for name in loops}
        served, single, bare_single = [], [], []
        for _ in range(rounds):
            for name, loop in loops.items():
                bare[name].append(loop.run(pictures, loop.workers, seconds))
            served.append(closed_loop(client.predict, pictures, CONCURRENCY, seconds=seconds))
            bare_single.append(alone.run(pictures, 1, seconds))
            single.append(closed_loop(client.predict, pictures, 1, seconds=seconds))

    best = max(bare, key=lambda name: statistics.median(run.rate for run in bare[name]))
    return Overhead(
        bare_rate=statistics.median(run.rate for run in bare[best]),
        bare_arrangement=best,
        served_rate=statistics.median(run.rate for run in served),
        ratio=statistics.median(ours.rate / theirs.rate for ours, theirs in zip(served, bare[best], strict=True)),
        bare_ms=statistics.median(run.median_ms for run in bare_single),
        served_ms=statistics.median(run.median_ms for run in single),
    )
