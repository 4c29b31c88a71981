"""`python -m boxwise_benchmarks.peers`: boxwise compared with other ways to serve its pipeline.

All peers are up, and one at a time is loaded, in blocks. Their order is shuffled in each round, so
that a disturbance affects all alike, and ratios are taken within a round. First, every peer must
find the same objects as ours, and is tuned to its best number of requests in flight.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from boxwise_benchmarks.baselines import frameworks
from boxwise_benchmarks.baselines.agreement import disagreement
from boxwise_benchmarks.baselines.base import Peer
from boxwise_benchmarks.baselines.field import OURS, lay_out, peers_of
from boxwise_benchmarks.baselines.frameworks import FrameworkError
from boxwise_benchmarks.baselines.in_process import BARE
from boxwise_benchmarks.baselines.raw import nullify_raw, read_raw
from boxwise_benchmarks.baselines.read import digests, read_recipe
from boxwise_benchmarks.measure import machine
from boxwise_export.demo import prepare_demo
from boxwise_perf.compare import ratio
from boxwise_perf.images import from_folder
from boxwise_perf.null import OBJECTS, nullify
from boxwise_perf.stats import Estimate
from boxwise_runtime.cache import cache_folder

FORMAT = 1  # of the JSON
_COMPARED = 8  # images on which all peers must agree
Report = Callable[[str], None]


class PeersError(RuntimeError):
    """Peers differ in their results, so that their figures cannot be compared."""


@dataclass(frozen=True)
class Row:
    """The figures of one peer; times are medians of the rounds.

    Attributes:
        name: of the peer.
        concurrency: best of the tried numbers of requests in flight.
        rate: images/s at that concurrency, median of the rounds.
        ratio: rate / that of the best of ours, mean over the rounds with its 95 % interval.
        alone_ms: p50 of one request in flight, client included.
        client_ms: CPU milliseconds of the client per image.
        bare: rate / that of the bare loop, mean over the rounds, if the client's CPU time were the
            server's, as with a client on another machine; None for peers other than ours.
    """

    name: str
    concurrency: int
    rate: float
    ratio: Estimate
    alone_ms: float
    client_ms: float
    bare: Estimate | None


def measure_peers(
    peers: Sequence[Peer],
    images: Sequence[bytes],
    *,
    seconds: float,
    rounds: int,
    concurrency: Sequence[int],
    seed: int = 0,
    report: Report = lambda _: None,
) -> list[Row]:
    """Measure running peers.

    Args:
        peers: ours and others.
        images: encoded files.
        seconds: duration of a block.
        rounds: number of blocks per peer.
        concurrency: numbers of requests in flight to choose from.
        seed: of the order of the blocks.
        report: called with a line before each step.

    Raises:
        PeersError: a peer does not find the same objects as ours.
    """
    _check_agreement(peers, images[:_COMPARED])
    best = {}
    for peer in peers:
        choice = sorted({min(count, peer.most_in_flight) for count in concurrency})
        tried = [(peer.run(images, count, seconds / 2).rate, count) for count in choice]
        best[peer.name] = max(tried)[1]
        report(
            f"  {peer.name}: "
            + ", ".join(f"{rate:.0f} images/s at {count}" for rate, count in tried)
        )
    rates: dict[str, list[float]] = {peer.name: [] for peer in peers}
    alone: dict[str, list[float]] = {peer.name: [] for peer in peers}
    client: dict[str, list[float]] = {peer.name: [] for peer in peers}
    order, shuffle = list(peers), random.Random(seed).shuffle
    for number in range(rounds):
        report(f"  round {number + 1} of {rounds}")
        shuffle(order)
        for peer in order:
            spent = time.process_time()
            run = peer.run(images, best[peer.name], seconds)
            client[peer.name].append((time.process_time() - spent) / len(run.latencies))
            rates[peer.name].append(run.rate)
            alone[peer.name].append(peer.run(images, 1, seconds / 2).median_ms)
    medians = {name: statistics.median(own) for name, own in rates.items()}
    reference = rates[
        max((name for name in medians if name.startswith(OURS)), key=lambda name: medians[name])
    ]
    cores = len(os.sched_getaffinity(0))
    unburdened = {
        name: [
            rate / (1 - rate * cost / cores) for rate, cost in zip(own, client[name], strict=True)
        ]
        for name, own in rates.items()
    }
    return [
        Row(
            name=name,
            concurrency=best[name],
            rate=medians[name],
            ratio=ratio(reference, own),
            alone_ms=statistics.median(alone[name]),
            client_ms=statistics.median(client[name]) * 1e3,
            bare=ratio(rates[BARE], unburdened[name]) if name.startswith(OURS) else None,
        )
        for name, own in rates.items()
    ]


def _check_agreement(peers: Sequence[Peer], images: Sequence[bytes]) -> None:
    ours = next(peer for peer in peers if peer.name.startswith(OURS))
    for number, image in enumerate(images):
        found = ours.call(image)
        for peer in peers:
            if difference := disagreement(found, peer.call(image)):
                raise PeersError(
                    f"{peer.name} does not find what {ours.name} finds in image {number}: "
                    f"{difference}"
                )


def main() -> None:
    """Measure, and print a table or JSON."""
    options = _options()
    try:
        if options.frameworks:
            frameworks.installed()  # fail before the minutes of measuring
        figures = _measure(options)
    except (FrameworkError, PeersError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if options.json:
        print(json.dumps(figures, indent=2, default=asdict))
        return
    print(
        f"{figures['machine']}\nframeworks: "
        f"{_listed(figures['frameworks']) or 'left out'}\n{figures['pictures']}"
    )
    for case, measured in figures["cases"].items():
        print(
            f"\n{case}; medians of {options.rounds} rounds of {options.seconds:g} s, ratios "
            "with their 95 % interval\n"
        )
        print(
            f"{'':<20}{'in flight':>10}{'images/s':>10}{'/ best of ours':>20}"
            f"{'ms alone':>10}{'client ms':>11}"
            f"{'/ bare, no client':>20}"
        )
        print("\n".join(_line(row) for row in measured["rows"]))
        print(
            "graphs, sha256: "
            f"{_listed({name: sha[:12] for name, sha in measured['graphs'].items()})}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m boxwise_benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--images", type=Path, help="a folder of images; left out, the demo's photos"
    )
    parser.add_argument("--rounds", type=int, default=7, help="of shuffled blocks (default 7)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each block (default 4)")
    parser.add_argument(
        "--concurrency",
        type=int,
        nargs="+",
        default=[2, 4, 8],
        help="in flight, to choose from (default 2 4 8)",
    )
    parser.add_argument(
        "--models", choices=["real", "null", "both"], default="both", help="(default both)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the blocks' order (default 0)")
    parser.add_argument(
        "--without-frameworks",
        dest="frameworks",
        action="store_false",
        help="leave out LitServe and BentoML",
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    cases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="boxwise-peers-") as name:
        folder = Path(name)
        photos = prepare_demo(cache_folder(), folder / "real", report=_progress)
        nullify(folder / "real", folder / "null")
        images = (
            from_folder(options.images)[1]
            if options.images
            else [_as_jpeg(photo) for photo in photos]
        )
        real, null = (read_recipe(folder / case) for case in ("real", "null"))
        raw = read_raw(cache_folder() / "demo" / "pipeline.yaml", real)
        subjects = {
            "real": ("the demo's pair", real, raw),
            "null": (
                f"graphs that return constants, {OBJECTS} boxes",
                null,
                nullify_raw(raw, null),
            ),
        }
        for case, (title, recipe, networks) in subjects.items():
            if options.models not in (case, "both"):
                continue
            _progress(f"{case}: starting the peers")
            with ExitStack() as stack:
                repositories = lay_out(folder / case)
                peers = peers_of(repositories, recipe, networks, frameworks=options.frameworks)
                for peer in peers:
                    stack.enter_context(peer)
                rows = measure_peers(
                    peers,
                    images,
                    seconds=options.seconds,
                    rounds=options.rounds,
                    concurrency=options.concurrency,
                    seed=options.seed,
                    report=_progress,
                )
            cases[title] = {"graphs": digests(recipe.graphs) | networks.digests(), "rows": rows}
    return {
        "format": FORMAT,
        "machine": machine(),
        "frameworks": frameworks.versions() if options.frameworks else {},
        "pictures": f"{len(images)} images",
        "settings": {name: str(value) for name, value in vars(options).items()},
        "cases": cases,
    }


def _as_jpeg(photo: Path) -> bytes:
    file = io.BytesIO()
    with Image.open(photo) as image:
        image.convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


def _line(row: Row) -> str:
    return (
        f"{row.name:<20}{row.concurrency:>10}{row.rate:>10.1f}{_interval(row.ratio):>20}{row.alone_ms:>10.1f}"
        f"{row.client_ms:>11.2f}{_interval(row.bare) if row.bare else '':>20}"
    )


def _interval(ratio: Estimate) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}"
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
