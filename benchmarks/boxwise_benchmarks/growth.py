"""`python -m boxwise_benchmarks.growth`: cost by number of requests, and of boxes per image.

The requests are sent to networks that return constants, where a growing cost shows first. The boxes
are classified by the demo's classifier, behind a detector that returns a chosen number of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from boxwise import Client
from boxwise_benchmarks.measure import Run, closed_loop, machine
from boxwise_export.demo import prepare_demo
from boxwise_export.repository.atomic_dir import write_file
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import LAYOUTS, Layout, ServingConfig
from boxwise_perf.images import synthetic
from boxwise_perf.null import constant_graph, nullify
from boxwise_runtime.cache import cache_folder
from boxwise_runtime.launcher import ServerOptions, TritonProcess

_CLASS = 2  # COCO's car, on which the demo's classifier runs
_IN_FLIGHT = 4
_WARM_UP = 300  # requests


@dataclass(frozen=True)
class Requests:
    """Throughput by number of requests so far: images/s since the previous number."""

    rates: dict[int, float]

    @property
    def last_to_first(self) -> float:
        """Last rate / first rate; 1 if the cost does not grow."""
        rates = list(self.rates.values())
        return rates[-1] / rates[0]


@dataclass(frozen=True)
class Boxes:
    """Latency of one request in flight by its number of boxes, and the line fitted to it.

    Attributes:
        p50_ms: number of boxes -> p50 in milliseconds.
        ms_a_box: slope of the line (least squares).
        r_squared: coefficient of determination; 1 for a perfect line.
    """

    p50_ms: dict[int, float]
    ms_a_box: float
    r_squared: float

    def per_box_ms(self, boxes: int) -> float:
        """Return the milliseconds per box of a request, after those of one without boxes."""
        return (self.p50_ms[boxes] - self.p50_ms[0]) / boxes


def grow_requests(url: str, images: Sequence[bytes], marks: Sequence[int]) -> Requests:
    """Send as many requests as the last mark, and measure the rate up to each mark."""
    with Client(url) as client:
        closed_loop(client.predict, images, _IN_FLIGHT, requests=_WARM_UP)
        rates, before = {}, 0
        for mark in marks:
            rates[mark] = closed_loop(
                client.predict, images, _IN_FLIGHT, requests=mark - before
            ).rate
            before = mark
            print(f"  {mark} requests: {rates[mark]:.0f} images/s", file=sys.stderr, flush=True)
    return Requests(rates)


def grow_boxes(
    url: str, images: Sequence[bytes], counts: Sequence[int], *, seconds: float, rounds: int
) -> Boxes:
    """Measure requests by their number of boxes, in alternating blocks; the first count is 0."""
    runs: dict[int, list[Run]] = {count: [] for count in counts}
    with Client(url, timeout_s=60) as client:

        def send(count: int, image: bytes) -> None:
            # NMS at an IoU of 1 keeps every box, and no box has a score of 1.
            found = client.predict(image, score_threshold=1.0 if count == 0 else None,
                                   max_detections=count or None, iou_threshold=1.0)  # fmt: skip
            assert len(found) == count  # noqa: S101 - or the figure is wrong

        for _ in range(rounds + 1):
            for count, own in runs.items():
                own.append(closed_loop(partial(send, count), images, 1, seconds=seconds))
    p50 = {
        count: statistics.median(run.median_ms for run in own[1:]) for count, own in runs.items()
    }
    x, y = np.array(list(p50), np.float64), np.array(list(p50.values()))
    slope, start = np.polyfit(x, y, 1)
    left = float(((y - slope * x - start) ** 2).sum())
    return Boxes(p50, float(slope), 1 - left / float(((y - y.mean()) ** 2).sum()))


def constant_detector(repository: Path, to: Path, objects: int) -> None:
    """Copy a repository, and replace its detector by one that finds this number of objects."""
    shutil.copytree(repository, to)
    for path in to.rglob("model.onnx"):
        model = onnx.load(path)
        if any(output.name == "candidate_boxes" for output in model.graph.output):
            write_file(path, constant_graph(model, objects, _CLASS).SerializeToString())


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m boxwise_benchmarks.growth", description=__doc__
    )
    parser.add_argument("--requests", type=int, default=100_000, help="in all (default 100000)")
    parser.add_argument(
        "--boxes", type=int, nargs="+", default=[0, 1, 5, 20, 50, 100], help="an image, 0 first"
    )
    parser.add_argument("--layout", choices=LAYOUTS, default="fused", help="(default fused)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of each block of boxes (default 3)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of these blocks (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args()
    layout: Layout = options.layout
    _, images = synthetic(640, 480, seed=0)
    with tempfile.TemporaryDirectory(prefix="boxwise-growth-") as name:
        folder = Path(name)
        prepare_demo(cache_folder(), folder / "demo", report=lambda _: None)
        change_layout(folder / "demo", None, ServingConfig(layout))
        nullify(folder / "demo", folder / "null")
        constant_detector(folder / "demo", folder / "boxes", max(options.boxes))
        marks = [
            mark for mark in (1_000, 10_000, 30_000, 100_000, 1_000_000) if mark < options.requests
        ]
        with TritonProcess.start(null := ServerOptions.on_free_ports(folder / "null")):
            requests = grow_requests(null.grpc_url, images, [*marks, options.requests])
        with TritonProcess.start(many := ServerOptions.on_free_ports(folder / "boxes")):
            boxes = grow_boxes(
                many.grpc_url,
                images,
                sorted({0, *options.boxes}),
                seconds=options.seconds,
                rounds=options.rounds,
            )
    if options.json:
        print(
            json.dumps(
                {"machine": machine(), "layout": layout, **asdict(requests), **asdict(boxes)},
                indent=2,
            )
        )
        return
    print(f"{machine()}\nlayout {layout}\n\nnetworks that return constants, {_IN_FLIGHT} in flight")
    for mark, rate in requests.rates.items():
        print(f"{mark:>10} requests {rate:>8.0f} images/s")
    print(f"last / first: {requests.last_to_first:.3f}")
    print(f"\nthe demo's classifier, one request in flight, medians of {options.rounds} rounds")
    for count, value in boxes.p50_ms.items():
        print(
            f"{count:>10} boxes {value:>11.1f} ms"
            + (f"{boxes.per_box_ms(count):>9.2f} ms per box" if count else "")
        )
    print(f"fitted: {boxes.ms_a_box:.2f} ms per box, R^2 {boxes.r_squared:.4f}")


if __name__ == "__main__":
    main()
