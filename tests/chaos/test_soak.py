"""A soak: hours of mixed sizes, whose answers are known, and a server that is as fast at its end as
one that is new.

The pipeline finds the dots of images of 0.1 to 9 megapixels with cheap models that work, so that
each answer can be checked. Requests arrive half as fast as the server can answer them, which is
measured first: more is an overload, and that is another trial. What a shared machine does over
hours is larger than 5 %, so that the old server is not held against its own youth: blocks of load
on it alternate with blocks on a server that is started anew every ten pairs, in an order that is
drawn for each pair, with the same requests at the same times.

Both forms assert that every request is answered, and rightly. The long form takes --hours, in pairs
of blocks of 30 s, and asserts of the pairs in its second half that the p99 of the old server is at
most 1.05 times that of the new: the lower end of the 95 % interval of the ratio, over the pairs.
The short form has two pairs of blocks of 2 s, and asserts no more than that the better of them is
below 3.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest
from contract_support.memory import segment_bytes
from contract_support.null_pipeline import write_dots_repository
from contract_support.synthetic import make_dots, png
from contract_support.trials import Trial

from boxwise import Client
from boxwise_benchmarks.measure import closed_loop
from boxwise_export.repository.serving_config import Layout
from boxwise_perf.compare import block, interleave, ratio
from boxwise_perf.generator import Generator, Job
from boxwise_perf.images import requests
from boxwise_perf.load import Closed, Open, Samples
from boxwise_perf.memory import held_mib
from boxwise_runtime.launcher import ServerOptions, TritonProcess

DOTS = 12
BUSY = Closed(4)  # as many in flight as keep it busy; their rate is its peak
SHARE_OF_PEAK = 0.5
PAIRS_OF_ONE = 10
WARM_UP_S = 1.0
# Of a thousand images, so many are this many times as large as dots that lie in 512 pixels by this
# many.
_MIX = {(1, 256): 400, (1, 512): 400, (2, 512): 160, (4, 512): 39, (6, 512): 1}


@cache
def images() -> list[bytes]:
    """A thousand, shuffled: 0.1, 0.3, 1 and 4 megapixels, and one of 9."""
    found = []
    for (scale, height), count in _MIX.items():
        frame = make_dots(DOTS, height=height).draw(512 * scale, height * scale, scale)
        found += [png(frame)] * count
    random.Random(0).shuffle(found)
    return found


@pytest.fixture(scope="module")
def working(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dots_repository(tmp_path_factory.mktemp(layout), layout)


def test_a_soak_of_mixed_sizes(trial: Trial, working: Path) -> None:
    seconds = trial.of(short=2, long=30)
    pairs = round(trial.hours * 3600 / 2 / seconds) if trial.long else 2
    found: list[tuple[Samples, Samples]] = []
    errors: Counter[str] = Counter()
    with ExitStack() as stack, Generator(requests(images())) as generator:
        old = stack.enter_context(warm(working, generator))
        peak = block(
            generator.run(Job(old.options.grpc_url, "boxwise", BUSY, seconds)).samples
        ).images_per_s
        load = Open(SHARE_OF_PEAK * peak)
        held, segments = held_mib(old.pid), segment_bytes(old.options)
        for first in range(0, pairs, PAIRS_OF_ONE):
            with warm(working, generator) as new:

                def run(
                    side: int, pair: int, servers: Sequence[TritonProcess] = (new, old)
                ) -> Samples:
                    job = Job(
                        servers[side].options.grpc_url,
                        "boxwise",
                        load,
                        seconds,
                        seed=pair,
                        first=37 * pair,
                    )
                    return generator.run(job).samples

                for pair in range(first, min(pairs, first + PAIRS_OF_ONE)):
                    found += interleave(lambda side, _, pair=pair: run(side, pair), 1, seed=pair)
                    errors.update(
                        error for samples in found[-1] for error in samples.errors if error
                    )
                    trial.progress(
                        pair + 1, pairs, f"pairs of blocks, {errors.total()} requests failed"
                    )
        assert old.failure() is None
        trial.measured(
            memory_mib=held_mib(old.pid) - held,
            shm_mib=(segment_bytes(old.options) - segments) / 2**20,
        )
    blocks = [samples for pair in found for samples in pair]
    wrong = sum(int((samples.boxes[samples.answered] != DOTS).sum()) for samples in blocks)
    early, drift = (
        ratio([new.p99_ms for new, _ in half], [old.p99_ms for _, old in half])
        for half in (found[: len(found) // 2], found[len(found) // 2 :])
    )
    trial.measured(
        requests=sum(len(samples.sent) for samples in blocks),
        peak_per_s=peak,
        failed=errors.total(),
        wrong=wrong,
        p99_ms_at_first=found[0][1].p99_ms,
        p99_ms_at_last=found[-1][1].p99_ms,
        p99_old_to_new_in_first_half=early.value,
        p99_old_to_new=drift.value,
    )
    assert not errors, [samples.messages for samples in blocks if samples.messages]
    assert wrong == 0
    if trial.long:
        trial.assert_at_most(drift, 1.05)
    else:
        assert min(old.p99_ms / new.p99_ms for new, old in found) < 3


@contextmanager
def warm(repository: Path, generator: Generator) -> Iterator[TritonProcess]:
    """A server that has seen every size."""
    options = ServerOptions.on_free_ports(repository)
    with TritonProcess.start(options) as server, Client(options.grpc_url, timeout_s=60) as client:
        largest = max(images(), key=len)
        closed_loop(client.predict, [largest], BUSY.concurrency, requests=2 * BUSY.concurrency)
        generator.run(Job(options.grpc_url, "boxwise", BUSY, WARM_UP_S))
        yield server
