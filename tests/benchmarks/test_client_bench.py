"""The null server answers any client, and a client's memory stays flat: over 20,000 predictions
here, over a million in `make bench-client`.
"""

from __future__ import annotations

import numpy as np

from boxwise import Client, PipelineInfo
from boxwise_benchmarks.client import _boxwise, _tritonclient, memory_growth
from boxwise_benchmarks.null_server import OBJECTS, null_server
from boxwise_benchmarks.null_triton import null_triton


def test_a_triton_that_does_nothing_answers_both_clients() -> None:
    with null_triton() as url:
        boxes, *_ = _tritonclient(url, bytes(200_000))()
        np.testing.assert_array_equal(_boxwise(url, bytes(200_000))().xyxy, boxes)
        assert len(boxes) == OBJECTS


def test_the_null_server_answers_both_clients_whatever_they_send() -> None:
    with null_server() as url:
        for image in (
            b"",
            b"x",
            bytes(200_000),
            np.zeros((1080, 1920, 3), np.uint8),
            bytes(20_000_000),
        ):
            boxes, scores, *_ = _tritonclient(url, image)()
            result = _boxwise(url, image)()
            assert len(result) == OBJECTS
            np.testing.assert_array_equal(result.xyxy, boxes)
            np.testing.assert_array_equal(result.confidence, scores)


def test_many_calls_at_once_are_each_answered() -> None:
    with null_server() as url, Client(url) as client:
        client._session.info = PipelineInfo(1, "boxwise", None, (), {}, {})
        outcomes = list(client.predict_many([bytes(300_000)] * 200, concurrency=16))
    assert all(outcome.error is None for outcome in outcomes)


def test_a_client_s_memory_stays_flat() -> None:
    with null_server() as url:
        early, late = memory_growth(url, 20_000)
    assert late - early < 8, f"{early:.1f} -> {late:.1f} MiB"
