"""`python -m boxwise_benchmarks.calibrate REPO`: whether `perf compare` keeps its promise on this
machine.

It compares a repository with itself, many times over: at a confidence of 95 %, one comparison of
twenty may find a difference that is not there. From the same blocks it learns what a slowdown of 5
% looks like, by not counting every twentieth answer of B, as for a server that does a twentieth of
its work twice. A repository of models that answer constants (`boxwise_perf.null`) is the hardest
case, and the quickest.
"""

from __future__ import annotations

import argparse
import json
import math
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
from boxwise_perf.stats import CONFIDENCE, Estimate

PLANTED = 20  # one answer of so many is not counted: 5 %
_WARM_UP_S = 2.0


@dataclass(frozen=True)
class Calibration:
    """What many comparisons of one thing with itself found.

    Attributes:
        compares: how many.
        false_alarms: of those, how many found a difference that is not there.
        chance: that at least so many do, were each as rare as promised; below 0.01 the promise is
            broken.
        found: how many found the planted slowdown.
        half_width: of the intervals, the median: a difference of about this size is found half of
            the time.
    """

    compares: int
    false_alarms: int
    chance: float
    found: int
    half_width: float


def binomial_tail(successes: int, trials: int, p: float) -> float:
    """P(X >= successes) for X ~ Binomial(trials, p): the one-sided binomial test."""
    return math.fsum(
        math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(successes, trials + 1)
    )


def judge(
    same: Sequence[Estimate], slowed: Sequence[Estimate], confidence: float = CONFIDENCE
) -> Calibration:
    """From the intervals of B / A: of the same thing twice, and with the planted slowdown."""
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
    """The same run, had every twentieth answer been work for nothing."""
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
    """Serve a repository and compare it with itself, `compares` times, each of `pairs` pairs of
    blocks of `seconds`.

    With two servers, what two starts of one thing differ by for as long as they live is in every
    comparison too.
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
                    planted.append(block(slow_down(samples)))  # noqa: B023 - called within the turn
                return block(samples)

            blocks = interleave(measure, pairs, seed=number)
            same.append(ratios(blocks)[0])
            slowed.append(ratios([(a, b) for (a, _), b in zip(blocks, planted, strict=True)])[0])
            progress(f"{number + 1} of {compares}: B / A {same[-1].value:.3f}")
    return judge(same, slowed)


def main() -> None:
    """Calibrate, and print what was found."""
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
        help="one with itself, or two starts of one thing (default 1)",
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
        f"  {found.false_alarms} found a difference that is not there; {1 - CONFIDENCE:.0%} "
        "are promised "
        f"(chance of so many: {found.chance:.3f})\n"
        f"  {found.found} found a slowdown of 5 % that was planted\n"
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
