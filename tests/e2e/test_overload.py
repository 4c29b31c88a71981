"""More requests than a server can answer: as many wait as may, and the rest is told so at once, in
every layout.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pytest
from contract_support.calls import Answer, Triton, assert_same
from contract_support.servers import copy_pipeline, launched
from contract_support.synthetic import make_dots, png
from tritonclient.utils import InferenceServerException

from boxwise import BoxwiseError, Client, Overloaded
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import LAYOUTS, Layout, ServingConfig
from boxwise_perf.prometheus import scrape
from boxwise_runtime.launcher import ServerOptions

MAX_QUEUE, AT_ONCE = 2, 16
# Takes so long that all of a burst are there before one is answered.
IMAGE = png(cv2.resize(make_dots(5).draw(), (2048, 2048), interpolation=cv2.INTER_NEAREST))

REFUSED, WAITING = "boxwise_overload_refusals_total", "boxwise_waiting_requests"


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def options(
    repository: Path, layout: Layout, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerOptions]:
    own = copy_pipeline(repository, "dots", tmp_path_factory.mktemp(layout) / "repository")
    change_layout(own, "dots", ServingConfig(layout, max_queue=MAX_QUEUE))
    options = ServerOptions.on_free_ports(own)
    with launched(options):
        yield options


def flood(server: Triton) -> tuple[list[Answer], list[InferenceServerException]]:
    """The answers and the refusals of many who ask at once, and ask again until some are refused.

    That others wait is seen by how soon Triton brings the next request, which is not always soon on
    a busy machine.
    """
    answers: list[Answer] = []
    refusals: list[InferenceServerException] = []
    until = time.monotonic() + 20

    def ask(_: int) -> None:
        while not refusals and time.monotonic() < until:
            try:
                answers.append(server.predict("dots", IMAGE))
            except InferenceServerException as error:
                refusals.append(error)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(ask, range(AT_ONCE)))
    return answers, refusals


def counted(options: ServerOptions, name: str) -> float:
    return sum(each.value for each in scrape(options.metrics_url) if each.name == name)


def test_as_many_wait_as_may_and_the_rest_is_told_so_and_counted(options: ServerOptions) -> None:
    server = Triton(options.grpc_url, "")
    alone = server.predict("dots", IMAGE)
    answered, refused = flood(server)
    assert answered
    assert refused
    for error in refused:
        assert error.status() == "StatusCode.UNAVAILABLE", error
        assert "the queue is full (max_queue 2): send fewer at once, or try again" in str(
            error.message()
        )
    for answer in [*answered, server.predict("dots", IMAGE)]:
        assert_same(answer, alone)
    deadline = time.monotonic() + 10  # they are handed over once a second
    while (found := [counted(options, name) for name in (REFUSED, WAITING)]) != [len(refused), 0]:
        assert time.monotonic() < deadline, (found, len(refused))
        time.sleep(0.2)
    assert counted(options, "boxwise_queue_seconds_total") > 0


def test_the_sdk_says_overloaded(options: ServerOptions) -> None:
    errors = []
    with Client(options.grpc_url, pipeline="dots") as client:
        for call in [client.submit(IMAGE) for _ in range(AT_ONCE)]:
            try:
                assert len(call.result()) == 5
            except BoxwiseError as error:
                errors.append(error)
    assert errors
    assert {type(error) for error in errors} == {Overloaded}, {str(error) for error in errors}
