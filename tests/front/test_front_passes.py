"""What a client that is let in gets through the front: the same answers, and nothing but a token to
add.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import tritonclient.grpc
from contract_support.synthetic import make_dots
from front_support.front import CONFIG, ENVOY, PIPELINE, Front, Keys, running
from front_support.server import IMAGE, IMAGES, Server, serving

from boxwise import Client, Unavailable
from boxwise_runtime.launcher import free_ports


def test_envoy_takes_the_file_as_it_is(keys: Keys) -> None:
    said = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", CONFIG],
        cwd=keys.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "warning" not in said.stderr  # a field that is deprecated


@pytest.mark.parametrize("name", IMAGES)
def test_an_answer_is_the_same_as_without_the_front(
    name: str, kind: Any, front: Front, triton: Server
) -> None:
    with front.client(kind) as through, Client(triton.url, pipeline=PIPELINE) as without:
        one, other = (each.predict(IMAGES[name]).to_dict() for each in (through, without))
    assert one == other


def test_health_passes(kind: Any, front: Front) -> None:
    with front.client(kind) as client:
        assert (client.live(), client.ready()) == (True, True)


def test_an_image_just_below_the_cap_passes(front: Front) -> None:
    with front.client() as client:
        assert len(client.predict(IMAGE + bytes((8 << 20) - len(IMAGE) - 1000))) == 12


def test_frames_go_over_the_wire_where_shared_memory_is_refused(front: Front) -> None:
    with front.client() as client, pytest.warns(UserWarning, match="the server refuses"):
        assert len(client.predict(make_dots(12).draw(), transfer="shm")) == 12


def test_a_connection_that_was_idle_too_long_costs_a_client_nothing(
    kind: Any, front_with: Callable[..., Front]
) -> None:
    front = front_with(
        {"idle_timeout: 60s": "idle_timeout: 0.2s", "drain_timeout: 1s": "drain_timeout: 0.1s"}
    )
    with front.client(kind) as client:
        for _ in range(2):
            assert len(client.predict(IMAGE)) == 12
            time.sleep(0.8)
        assert client.predict(IMAGE).timings.attempts == 1


def test_more_calls_at_once_than_a_connection_takes_are_none_too_many(
    kind: Any, front: Front
) -> None:
    own = front.keys.token(sub=f"burst of {kind.__name__}")  # a rate of its own
    with front.client(kind, token=own) as client:
        outcomes = [each.unwrap() for each in client.predict_many([IMAGE] * 60, concurrency=60)]
    assert {(len(each), each.timings.attempts) for each in outcomes} == {(12, 1)}


def test_a_front_without_a_server_says_so_and_finds_it_when_it_comes(
    keys: Keys, repository: Path, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    with running(keys, port, tmp_path) as front, front.client() as client:
        assert (client.live(), client.ready()) == (False, False)
        with pytest.raises(Unavailable, match="no healthy upstream"):
            client.predict(IMAGE)
        with serving(repository, port):
            until = time.monotonic() + 10
            while not client.live() and time.monotonic() < until:
                time.sleep(0.1)
            assert len(client.predict(IMAGE)) == 12


def test_one_of_two_servers_dies_and_no_call_fails(
    triton: Server, front_with: Callable[..., Front], repository: Path
) -> None:
    """The second one is the line that the file has as a comment."""
    (port,) = free_ports(1)
    line = "- {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}"
    with serving(repository, port) as second:
        before = _inferred(triton)
        front = front_with({f"# {line % 8011}": line % port})
        with front.client() as client:
            assert all(
                outcome.error is None
                for outcome in client.predict_many([IMAGE] * 20, concurrency=4)
            )
            assert _inferred(triton) > before
            assert _inferred(second) > 0
    with front.client() as client:
        assert [outcome.error for outcome in client.predict_many([IMAGE] * 40, concurrency=4)] == [
            None
        ] * 40


def _inferred(server: Server) -> int:
    statistics = tritonclient.grpc.InferenceServerClient(server.url).get_inference_statistics(
        PIPELINE
    )
    return int(statistics.model_stats[0].inference_count)


def test_the_access_log_says_who_and_what_and_nothing_secret(front: Front, keys: Keys) -> None:
    token = keys.token(sub="camera 7")
    with front.client(token=token, metadata={"x-forwarded-for": "203.0.113.9"}) as client:
        client.predict(IMAGE)
    line = front.logged(
        client="camera 7", status="OK", path="/inference.GRPCInferenceService/ModelInfer"
    )
    assert line.keys() == {
        "time",
        "client",
        "address",
        "path",
        "bytes",
        "milliseconds",
        "status",
        "flags",
        "request",
    }
    assert line["address"].startswith("127.0.0.1:")  # and not what the client says of itself
    assert token not in json.dumps(front.log)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 403), ("/ready", 200), ("/stats/prometheus", 200), ("/config_dump", 403)],
)
def test_the_admin_interface_tells_metrics_and_readiness_alone(
    path: str, status: int, front: Front
) -> None:
    assert requests.get(front.admin + path, timeout=5).status_code == status


@pytest.mark.parametrize("path", ["/quitquitquit", "/logging?level=trace"])
def test_the_admin_interface_changes_nothing(path: str, front: Front) -> None:
    assert requests.post(front.admin + path, timeout=5).status_code == 403
