"""`python -m boxwise_benchmarks.calibrate REPO`: the error rate of `perf compare` on this machine.

It compares a repository with itself many times. At a confidence of 95 %, one comparison of twenty
may find a difference. The same blocks also simulate a slowdown of 5 %: every twentieth response of
B is not counted, as if its work had been wasted. A repository whose networks return constants
(`boxwise_perf.null`) is the hardest case, and the quickest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from boxwise_perf.compare import block, interleave, ratios
from boxwise_perf.generator import Generator, Job
from boxwise_perf.images import requests, synthetic
from boxwise_perf.load import Closed, Samples
from boxwise_perf.machine import Machine
from boxwise_perf.result import Block
from boxwise_perf.stats import CONFIDENCE, Estimate, binomial_cdf

PLANTED = 20  # every 20th response is not counted: a slowdown of 5 %
_WARM_UP_S = 2.0


@dataclass(frozen=True)
class Calibration:
    """The result of many comparisons of a server with itself.

    Attributes:
        compares: number of comparisons.
        false_alarms: number of them that found a difference.
        chance: p-value of that number at the stated confidence; below 0.01 the interval is wrong.
        found: number of comparisons that found the planted slowdown.
        half_width: median half width of the intervals; a difference of this size is found about
            half of the time.
    """

    compares: int
    false_alarms: int
    chance: float
    found: int
    half_width: float


def binomial_tail(successes: int, trials: int, p: float) -> float:
    """Return P(X >= successes) for X ~ Binomial(trials, p): the one-sided binomial test."""
    return 1.0 - float(binomial_cdf(trials, p)[successes - 1]) if successes else 1.0


def judge(
    same: Sequence[Estimate], slowed: Sequence[Estimate], confidence: float = CONFIDENCE
) -> Calibration:
    """Count errors, given intervals of B / A: of equal servers, and with the planted slowdown."""
    false_alarms = sum(_differs(each) for each in same)
    widths = [((each.high or 0) - (each.low or 0)) / 2 for each in same]
    return Calibration(
        len(same),
        false_alarms,
        binomial_tail(false_alarms, len(same), 1 - confidence),
        sum(each.high is not None and each.high < 1 for each in slowed),
        float(np.median(widths)),
    )


def slow_down(samples: Samples) -> Samples:
    """Return the run without every twentieth response."""
    kept = np.flatnonzero(np.arange(len(samples.done)) % PLANTED != PLANTED - 1)
    return replace(
        samples,
        scheduled=samples.scheduled[kept],
        sent=samples.sent[kept],
        done=samples.done[kept],
        boxes=samples.boxes[kept],
        errors=tuple(samples.errors[row] for row in kept),
    )


def calibrate(
    repository: Path,
    pipeline: str = "boxwise",
    *,
    compares: int,
    pairs: int,
    seconds: float,
    concurrency: int = 4,
    servers: Literal[1, 2] = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Serve a repository and compare it with itself.

    Args:
        repository: to serve.
        pipeline: its name.
        compares: number of comparisons.
        pairs: of blocks in each.
        seconds: duration of a block.
        concurrency: requests in flight.
        servers: 2 for two starts of the repository, whose difference is then in every comparison.
        progress: called after each comparison.
    """
    from boxwise_runtime.launcher import ServerOptions, TritonProcess

    load = Closed(concurrency)
    same, slowed = [], []
    with ExitStack() as stack:
        _, images = synthetic(640, 480, seed=0)
        generator = stack.enter_context(Generator(requests(images)))
        urls = []
        for _ in range(servers):
            options = ServerOptions.on_free_ports(repository)
            stack.enter_context(TritonProcess.start(options))
            urls.append(options.grpc_url)
            generator.run(Job(options.grpc_url, pipeline, load, _WARM_UP_S))
        for number in range(compares):
            planted: list[Block] = []

            def measure(side: int, pair: int) -> Block:
                samples = generator.run(
                    Job(urls[side % servers], pipeline, load, seconds, first=pair)
                ).samples
                if side == 1:
                    planted.append(block(slow_down(samples)))  # noqa: B023 - called in this turn
                return block(samples)

            blocks = interleave(measure, pairs, seed=number)
            same.append(ratios(blocks)[0])
            slowed.append(ratios([(a, b) for (a, _), b in zip(blocks, planted, strict=True)])[0])
            progress(f"{number + 1} of {compares}: B / A {same[-1].value:.3f}")
    return judge(same, slowed)


def main() -> None:
    """Calibrate, and print the result."""
    parser = argparse.ArgumentParser(
        prog="python -m boxwise_benchmarks.calibrate", description=__doc__
    )
    parser.add_argument("repository", type=Path)
    parser.add_argument("--pipeline", default="boxwise")
    parser.add_argument("--compares", type=int, default=100, help="(default 100)")
    parser.add_argument("--pairs", type=int, default=20, help="of blocks in each (default 20)")
    parser.add_argument("--block", type=float, default=0.3, help="seconds of a block (default 0.3)")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument(
        "--servers",
        type=int,
        choices=[1, 2],
        default=1,
        help="one with itself, or two starts of the repository (default 1)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args()
    found = calibrate(
        options.repository,
        options.pipeline,
        compares=options.compares,
        pairs=options.pairs,
        seconds=options.block,
        concurrency=options.concurrency,
        servers=options.servers,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if options.json:
        print(json.dumps(asdict(found) | {"machine": str(Machine.here())}, indent=2))
        return
    print(
        f"{found.compares} comparisons with itself, {options.pairs} pairs of "
        f"{options.block:g} s blocks:\n"
        f"  {found.false_alarms} found a difference that is not there; expected "
        f"{1 - CONFIDENCE:.0%} (p-value {found.chance:.3f})\n"
        f"  {found.found} found the planted slowdown of 5 %\n"
        f"  intervals of about +-{found.half_width:.1%}\n{Machine.here()}"
    )


def _differs(estimate: Estimate) -> bool:
    return (
        estimate.low is not None
        and estimate.high is not None
        and (estimate.low > 1 or estimate.high < 1)
    )


if __name__ == "__main__":
    main()
