"""`python -m boxwise_benchmarks.client`, or `make bench-client`: the SDK compared with
tritonclient.

Each client runs in its own process, because the state of the allocator left by one would affect the
other. Their blocks alternate, so that a disturbance affects both alike, and are short, because
tritonclient's rate varies by a quarter between long ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from boxwise import AsyncClient, Client, PipelineInfo
from boxwise_benchmarks.measure import Run, closed_loop, machine
from boxwise_benchmarks.null_server import null_server
from boxwise_benchmarks.null_triton import null_triton

# A client reads only the first bytes of an image.
_JPEG = b"\xff\xd8\xff" + bytes(199_997)
_FRAME = np.zeros((1080, 1920, 3), np.uint8)
_INFO = PipelineInfo(1, "boxwise", None, (), {}, {})
_THREADS, _IN_FLIGHT = 4, 64


@dataclass(frozen=True)
class Block:
    """Requests/s, and milliseconds of client CPU per request."""

    rate: float
    cpu_ms: float


def _tritonclient(url: str, image: Any) -> Callable[[], object]:
    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(url)
    name, pixels = (
        ("frame", image)
        if isinstance(image, np.ndarray)
        else ("image", np.frombuffer(image, np.uint8))
    )

    def call() -> object:
        tensor = triton.InferInput(name, pixels.shape, "UINT8")
        tensor.set_data_from_numpy(pixels)
        reply = client.infer("boxwise", [tensor])
        return [reply.as_numpy(output) for output in ("boxes", "scores", "class_ids", "image_size")]

    return call


def _boxwise(url: str, image: Any) -> Callable[[], object]:
    client = Client(url, transfer="raw")
    client._session.info = _INFO  # the null server has none
    return lambda: client.predict(image)


async def _asynchronous(url: str, image: Any, seconds: float) -> int:
    completed, end = 0, time.perf_counter() + seconds
    async with AsyncClient(url, transfer="raw") as client:
        client._session.info = _INFO

        async def send() -> None:
            nonlocal completed
            while time.perf_counter() < end:
                await client.predict(image)
                completed += 1

        await asyncio.gather(*(send() for _ in range(_IN_FLIGHT)))
    return completed


def _work(link: Connection, kind: str, url: str, image: Any, threads: int) -> None:
    call = (
        None
        if kind == "asyncio"
        else {"tritonclient": _tritonclient, "boxwise": _boxwise}[kind](url, image)
    )
    try:
        while True:
            seconds = link.recv()
            start, cpu = time.perf_counter(), time.process_time()
            if call is None:
                completed = asyncio.run(_asynchronous(url, image, seconds))
            else:
                run: Run = closed_loop(lambda _: call(), [b""], threads, seconds=seconds)
                completed = len(run.latencies)
            elapsed = time.perf_counter() - start
            link.send(Block(completed / elapsed, (time.process_time() - cpu) / completed * 1e3))
    except EOFError:
        return


def compare(
    url: str, kinds: tuple[str, ...], image: Any, threads: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Return medians of each kind, and of its ratios to the first kind, round by round."""
    context = multiprocessing.get_context("spawn")
    links = {}
    for kind in kinds:
        ours, theirs = context.Pipe()
        context.Process(target=_work, args=(theirs, kind, url, image, threads), daemon=True).start()
        links[kind] = ours
    blocks: dict[str, list[Block]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind, link in links.items():
            link.send(seconds if number else 1.0)
            block = link.recv()
            if number:  # the first is the warm-up
                blocks[kind].append(block)
    for link in links.values():
        link.close()
    first = blocks[kinds[0]]
    return {
        kind: asdict(
            Block(statistics.median(b.rate for b in own), statistics.median(b.cpu_ms for b in own))
        )
        | {
            "rate_ratio": statistics.median(
                b.rate / a.rate for a, b in zip(first, own, strict=True)
            ),
            "cpu_ratio": statistics.median(
                b.cpu_ms / a.cpu_ms for a, b in zip(first, own, strict=True)
            ),
        }
        for kind, own in blocks.items()
    }


def shared_memory_overhead(repository: Path, requests: int) -> float:
    """Return the client's own milliseconds in a call with a raw 1080p frame in shared memory.

    It is the median time of calls, without waiting for the response.
    """
    from boxwise_runtime.launcher import ServerOptions, TritonProcess

    options = replace(ServerOptions.on_free_ports(repository), client_shm=True)
    with (
        TritonProcess.start(options),
        Client(options.grpc_url, pipeline="boxwise", transfer="shm") as client,
    ):
        client.predict(_FRAME)
        spent = []
        for _ in range(requests):
            start = time.perf_counter()
            timings = client.predict(_FRAME).timings
            assert timings is not None  # noqa: S101 - a call's result has them
            spent.append((time.perf_counter() - start - timings.wait_s) * 1e3)
        return statistics.median(spent)


def memory_growth(url: str, requests: int) -> tuple[float, float]:
    """Return MiB of RSS after a tenth of the predictions and after all, in a new process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        early, late = pool.apply(_predict_and_weigh, (url, requests))
    return early, late


def _predict_and_weigh(url: str, requests: int) -> tuple[float, float]:
    client = Client(url, transfer="raw")
    client._session.info = _INFO
    early = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for part in range(10):
            list(
                pool.map(
                    _predict_often, [client] * _THREADS, [requests // 10 // _THREADS] * _THREADS
                )
            )
            early = early or psutil.Process().memory_info().rss
            print(f"  {part + 1} of 10", file=sys.stderr, flush=True)
    return early / 2**20, psutil.Process().memory_info().rss / 2**20


def _predict_often(client: Client, requests: int) -> None:
    for _ in range(requests):
        client.predict(_JPEG[:1000])


def import_seconds(rounds: int) -> float:
    """Return the median seconds of `import boxwise`, without the interpreter's start."""
    code = "import time; s = time.perf_counter(); import boxwise; print(time.perf_counter() - s)"
    command = [sys.executable, "-c", code]
    return statistics.median(
        float(subprocess.check_output(command, text=True)) for _ in range(rounds)
    )


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m boxwise_benchmarks.client", description=__doc__
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="of each block (default 1)")
    parser.add_argument("--rounds", type=int, default=15, help="of alternating blocks (default 15)")
    parser.add_argument(
        "--requests", type=int, default=1_000_000, help="of the memory trial (default a million)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args()

    figures: dict[str, Any] = {"machine": machine(), "rounds": options.rounds}
    trials: dict[
        str, tuple[Callable[[], AbstractContextManager[str]], tuple[str, ...], Any, int]
    ] = {
        "JPEG of 200 KB, 4 threads": (
            null_server,
            ("tritonclient", "boxwise", "asyncio"),
            _JPEG,
            _THREADS,
        ),
        "raw 1080p frame, 1 thread": (null_server, ("tritonclient", "boxwise"), _FRAME, 1),
        "the JPEG, a real Triton": (
            null_triton,
            ("tritonclient", "boxwise", "asyncio"),
            _JPEG,
            _THREADS,
        ),
    }
    for name, (server, kinds, image, threads) in trials.items():
        print(name, file=sys.stderr, flush=True)
        with server() as url:
            figures[name] = compare(url, kinds, image, threads, options.seconds, options.rounds)
    with null_server() as url:
        print(f"memory over {options.requests} predictions", file=sys.stderr, flush=True)
        figures["memory"] = dict(
            zip(("early_mib", "late_mib"), memory_growth(url, options.requests), strict=True)
        )
    figures["import_s"] = import_seconds(options.rounds)
    print(
        "shared memory, with Triton and networks that return constants",
        file=sys.stderr,
        flush=True,
    )
    figures["shm_overhead_ms"] = _with_null_models(
        lambda folder: shared_memory_overhead(folder, 50 * options.rounds)
    )
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(
        f"{machine()}\nwith servers that return constants, medians of {options.rounds} "
        "alternating rounds\n"
    )
    for name in trials:
        print(f"{name:<28}{'requests/s':>12}{'CPU ms':>9}{'rate':>8}{'CPU':>8}")
        for kind, row in figures[name].items():
            label = f"  {kind}, {_IN_FLIGHT} in flight" if kind == "asyncio" else f"  {kind}"
            print(
                f"{label:<28}{row['rate']:>12.0f}{row['cpu_ms']:>9.3f}{row['rate_ratio']:>7.2f}x{row['cpu_ratio']:>7.2f}x"
            )
    memory = figures["memory"]
    print(
        f"\nclient's share of a 1080p frame in shared memory: {figures['shm_overhead_ms']:.2f} ms"
    )
    print(f"import boxwise: {figures['import_s']:.2f} s")
    print(
        f"RSS after {options.requests // 10}: {memory['early_mib']:.1f} MiB, after all: "
        f"{memory['late_mib']:.1f} MiB"
    )


def _with_null_models(measure: Callable[[Path], float]) -> float:
    from boxwise_export.demo import prepare_demo
    from boxwise_perf.null import nullify
    from boxwise_runtime.cache import cache_folder

    with tempfile.TemporaryDirectory() as folder:
        demo, null = Path(folder, "demo"), Path(folder, "null")
        prepare_demo(cache_folder(), demo, report=lambda _: None)
        nullify(demo, null)
        return measure(null)


if __name__ == "__main__":
    main()
