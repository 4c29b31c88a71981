"""`python -m boxwise_perf`, or `make bench`: what serving costs here, and the memory it takes."""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from boxwise_export.demo import prepare_demo
from boxwise_perf.footprint import measure_footprint
from boxwise_perf.measure import machine
from boxwise_perf.null import OBJECTS, nullify
from boxwise_perf.overhead import CONCURRENCY, Overhead, measure_overhead
from boxwise_runtime.cache import cache_folder


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m boxwise_perf", description=__doc__)
    parser.add_argument("--pictures", type=Path, help="a folder of JPEGs; left out, the demo's photos")
    parser.add_argument("--rounds", type=int, default=5, help="of interleaved blocks (default 5)")
    parser.add_argument("--requests", type=int, default=2000, help="of the memory trial (default 2000), 0 for none")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        demo, null = Path(folder, "demo"), Path(folder, "null")
        photos = prepare_demo(cache_folder(), demo, report=_progress)
        nullify(demo, null)
        pictures = [path.read_bytes() for path in sorted(options.pictures.glob("*.jpg"))] if options.pictures else []
        pictures = pictures or [_jpeg(photo) for photo in photos]
        _progress(f"measuring with {len(pictures)} pictures")
        real = measure_overhead(demo, pictures, seconds=8, rounds=options.rounds)
        constant = measure_overhead(null, pictures, seconds=4, rounds=options.rounds)
        memory = measure_footprint(demo, requests=options.requests) if options.requests else None

    if options.json:
        figures = {"real": asdict(real), "null": asdict(constant), "memory": memory and asdict(memory)}
        print(json.dumps({"machine": machine(), "rounds": options.rounds, **figures}, indent=2))
        return
    print(f"{machine()}\n{len(pictures)} pictures, medians of {options.rounds} interleaved rounds\n")
    print(
        f"{'models':<26}{'bare img/s':>12}{'served img/s':>14}{'ratio':>8}{'bare ms':>9}{'served ms':>11}{'added':>8}"
    )
    print(_row("demo pair", real))
    print(_row(f"constants, {OBJECTS} boxes", constant))
    print(f"\nserved at concurrency {CONCURRENCY}, its client on the same cores; ms at concurrency 1, client included")
    print(f"bare loop at its best: {real.bare_arrangement} (demo pair), {constant.bare_arrangement} (constants)")
    if memory:
        print(f"\nmemory, MiB of PSS, /dev/shm included: {memory.started:.0f} when ready,")
        print(f"  {memory.common:.0f} after {memory.first} requests of up to 2 megapixels,")
        print(f"  {memory.later:.0f} after {memory.requests}, {memory.later - memory.common:+.1f} since")
        for megapixels, held in memory.large.items():
            print(f"  {held:.0f} after pictures of {megapixels:g} megapixels")
        print(f"  {memory.mib_per_megapixel:.0f} for each megapixel of the largest picture beyond 2")


def _jpeg(photo: Path) -> bytes:
    file = io.BytesIO()
    with Image.open(photo) as picture:
        picture.convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _row(name: str, figures: Overhead) -> str:
    return (
        f"{name:<20}{figures.bare_rate:>12.1f}{figures.served_rate:>14.1f}{figures.ratio:>8.3f}"
        f"{figures.bare_ms:>9.1f}{figures.served_ms:>11.1f}{figures.added_ms:>8.1f}"
    )


if __name__ == "__main__":
    main()
