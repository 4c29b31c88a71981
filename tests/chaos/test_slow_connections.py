"""A thousand connections to the gRPC and the HTTP port that are slow, or half open, beside a
healthy client.

A quarter of them says nothing, a quarter half of its first line, a quarter has sent its headers and
nothing since, and a quarter sends a body of a megabyte a byte a second. Blocks with and without
them alternate, in an order that is drawn for each pair; the healthy client, in a process of its
own, sends the same requests at the same times in both. The server is started as a shell starts it,
with a limit of 1,024 open files.

Both forms assert that nothing fails, that /v2/health/ready answers within a second beside them, and
that the server holds all thousand. The long form asserts of 30 pairs of blocks of 10 s that p99
rises by a tenth at most: the lower end of the 95 % interval of the ratio, over the pairs, lies at
1.1 or below. A p99 of a few seconds on a busy machine moves by itself, so the short form asserts
that the best of its three pairs rises to less than twice.
"""

from __future__ import annotations

import http.client
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from contract_support.null_pipeline import BOXES, flat
from contract_support.slow import SlowConnections
from contract_support.trials import Trial

from boxwise_perf.compare import interleave, ratio
from boxwise_perf.generator import Generator, Job
from boxwise_perf.images import requests
from boxwise_perf.load import Open, Samples
from boxwise_runtime.launcher import ServerOptions, TritonProcess

CONNECTIONS = 1_000
LOAD = Open(100)
USUAL_FILES = 1_024


# It is the server's front that is tried.
@pytest.mark.parametrize("layout", ["fused"], indirect=True)
def test_a_thousand_slow_connections(trial: Trial, repository: Path) -> None:
    pairs, seconds = trial.of(short=3, long=30), trial.of(short=4, long=10)
    options = ServerOptions.on_free_ports(repository)
    host, slowest_health = options.reachable_host, 0.0
    with files(USUAL_FILES):
        server = TritonProcess.start(options)
    with server, files(None), Generator(requests([flat(640, 480)])) as generator:

        def block(slow: int, pair: int) -> Samples:
            nonlocal slowest_health
            job = Job(options.grpc_url, "boxwise", LOAD, seconds, seed=pair)
            if not slow:
                return generator.run(job).samples
            with SlowConnections(
                (host, options.grpc_port), (host, options.http_port), CONNECTIONS
            ) as connections:
                samples = generator.run(job).samples
                slowest_health = max(slowest_health, health_s(options))
                assert connections.open() == CONNECTIONS
            return samples

        generator.run(Job(options.grpc_url, "boxwise", LOAD, 2))  # to warm up
        done = iter(range(1, pairs + 1))
        blocks = interleave(block, pairs, 0, lambda: trial.progress(next(done), pairs, "pairs"))
        assert server.failure() is None
    without, beside = ([pair[side].p99_ms for pair in blocks] for side in (0, 1))
    rise = ratio(without, beside)
    trial.measured(
        pairs=pairs,
        requests=sum(len(each.sent) for pair in blocks for each in pair),
        p99_ms_without=float(np.median(without)),
        p99_ms_beside=float(np.median(beside)),
        p99_ratio=rise.value,
        health_s=slowest_health,
    )
    assert all(
        each.answered.all() and set(each.boxes) == {BOXES} for pair in blocks for each in pair
    )
    assert slowest_health < 1
    if trial.long:
        trial.assert_at_most(rise, 1.1)
    else:
        assert min(np.divide(beside, without)) < 2


def health_s(options: ServerOptions) -> float:
    """Seconds that a health check takes over HTTP, on a connection of its own."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(options.reachable_host, options.http_port, timeout=10)
    connection.request("GET", "/v2/health/ready")
    assert connection.getresponse().status == 200
    connection.close()
    return time.perf_counter() - began


@contextmanager
def files(most: int | None) -> Iterator[None]:
    """Let this process, and those that it starts, open so many files; None for as many as the
    system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if most is None else most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
