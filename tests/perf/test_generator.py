"""The load generator's process, against a server that finds what it is told to find."""

import os
import time

import pytest

from boxwise import Overloaded
from boxwise.testing import FakeServer
from boxwise_perf.generator import Generator, Job
from boxwise_perf.images import requests, synthetic
from boxwise_perf.load import Closed, LoadError, Open

REQUESTS = requests(synthetic(32, 24, seed=0)[1])


def test_runs_of_both_kinds_and_a_server_that_refuses_some() -> None:
    with FakeServer(labels=["cat"]) as server, Generator(REQUESTS) as generator:
        server.find("cat", (1, 2, 3, 4), 0.75)
        closed = generator.run(Job(server.url, "boxwise", Closed(2), 0.3))
        assert closed.samples.answered.all()
        assert (closed.samples.boxes == 1).all()
        assert 0 < closed.cpu_share < 3

        server.fail(Overloaded, times=2)
        before = time.perf_counter()
        start = generator.begin(Job(server.url, "boxwise", Open(50, "fixed"), 0.5))
        assert before <= start <= time.perf_counter(), "one clock in both processes"
        samples = generator.end().samples
        assert samples.errors.count("Overloaded") == 2
        assert len(samples.errors) == 25


def test_a_server_that_is_not_there_and_one_that_is() -> None:
    with FakeServer(labels=["cat"]) as server, Generator(REQUESTS) as generator:
        with pytest.raises(LoadError, match=r"127\.0\.0\.1:9"):
            generator.begin(Job("127.0.0.1:9", "boxwise", Closed(1), 0.1))
        with pytest.raises(LoadError, match="no pipeline 'street'"):
            generator.begin(Job(server.url, "street", Closed(1), 0.1))
        assert len(generator.run(Job(server.url, "boxwise", Closed(1), 0.1)).samples.done)


def test_a_request_has_the_time_that_it_is_given() -> None:
    with FakeServer(labels=["cat"]) as server:
        server.delay_s = 0.3
        with Generator(REQUESTS) as generator:
            assert generator.run(Job(server.url, "boxwise", Closed(1), 0.5)).samples.answered.all()
        server.delay_s = 2.0
        with (
            Generator(REQUESTS, timeout_s=0.5) as generator,
            pytest.raises(LoadError, match=r"within 0\.5 s"),
        ):
            generator.run(Job(server.url, "boxwise", Closed(1), 0.5))


def test_it_ends_in_the_middle_of_a_run_and_when_it_is_killed() -> None:
    with FakeServer(labels=["cat"]) as server:
        with Generator(REQUESTS) as generator:
            generator.begin(Job(server.url, "boxwise", Closed(1), 60))
            process = generator._process
        assert not process.is_alive()
        with Generator(REQUESTS) as generator:
            generator.begin(Job(server.url, "boxwise", Closed(1), 60))
            os.kill(generator._process.pid or 0, 9)
            with pytest.raises(LoadError, match="process died"):
                generator.end()
