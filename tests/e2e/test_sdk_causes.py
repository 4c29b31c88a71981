"""Triton's own words for what goes wrong, from a real server, and the error that the SDK makes of
each.
"""

from __future__ import annotations

import http.server
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import tritonclient.grpc
import trustme
from contract_support.either import CLIENTS
from contract_support.servers import launched, write_repository
from contract_support.synthetic import make_dots
from tritonclient.utils import InferenceServerException

from boxwise import (
    TLS,
    AccessDenied,
    AsyncClient,
    BoxwiseError,
    Cancelled,
    Client,
    DeadlineExceeded,
    Overloaded,
    StageFailed,
    Unavailable,
)
from boxwise._shm import FOLDER, PREFIX
from boxwise_export.repository.atomic_dir import write_file
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_runtime.launcher import ServerOptions, ServerTLS, TritonProcess

FRAME = make_dots(12).draw()
PNG = cv2.imencode(".png", FRAME[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one detector."""
    return write_repository(tmp_path_factory.mktemp("small"), "dots", classifiers=None)


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as one model, which starts in half the time: for what a server does, not a stage."""
    return write_repository(
        tmp_path_factory.mktemp("fused"), "dots", classifiers=None, layout="fused"
    )


@pytest.fixture(scope="module")
def server(small: Path) -> Iterator[ServerOptions]:
    """One that tests leave as they found it."""
    options = replace(ServerOptions.on_free_ports(small), client_shm=True)
    with launched(options):
        yield options


@pytest.fixture(params=sorted(CLIENTS))
def connect(request: pytest.FixtureRequest) -> Any:
    return CLIENTS[request.param]


def test_a_restricted_protocol_is_access_denied_until_its_key_is_sent(
    connect: Any, fused: Path
) -> None:
    options = ServerOptions.on_free_ports(fused)
    options = replace(
        options, extra_args=("--grpc-restricted-protocol=inference:infer-key=open sesame",)
    )
    with launched(options):
        with connect(options.grpc_url, pipeline="dots") as client:
            with pytest.raises(AccessDenied, match="This protocol is restricted") as caught:
                client.predict(PNG)
            assert (caught.value.code, caught.value.retryable) == ("UNAVAILABLE", False)
        key = {"triton-grpc-protocol-infer-key": "open sesame"}
        with connect(options.grpc_url, pipeline="dots", metadata=key) as client:
            assert len(client.predict(PNG)) == 12


def test_a_public_server_answers_other_machines_over_tls_alone(fused: Path, tmp_path: Path) -> None:
    """127.0.0.2 stands for the network: only what listens everywhere is there."""
    authority = trustme.CA()
    certificates = {
        "server": authority.issue_cert("localhost", "127.0.0.2"),
        "client": authority.issue_cert("client"),
    }
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, certificate in certificates.items():
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    ca, server, client = (str(tmp_path / name) for name in ("ca.pem", "server", "client"))
    options = replace(
        ServerOptions.on_free_ports(fused),
        host="0.0.0.0",
        public=True,
        tls=ServerTLS(Path(f"{server}.pem"), Path(f"{server}.key"), client_ca=Path(ca)),
    )
    url = f"127.0.0.2:{options.grpc_port}"
    own = TLS(ca=ca, certificate=f"{client}.pem", key=f"{client}.key")
    with launched(options):
        for connect in CLIENTS.values():
            with connect(url, pipeline="dots", tls=own) as known:
                assert len(known.predict(PNG)) == 12
            for tls in (False, TLS(ca=ca)):
                with (
                    connect(url, pipeline="dots", tls=tls, timeout_s=3) as stranger,
                    pytest.raises(BoxwiseError),
                ):
                    stranger.predict(PNG)
        files = {
            "root_certificates": ca,
            "private_key": f"{client}.key",
            "certificate_chain": f"{client}.pem",
        }
        with tritonclient.grpc.InferenceServerClient(url, ssl=True, **files) as plain:
            assert plain.is_model_ready("dots")
            for closed in (plain.get_inference_statistics, lambda: plain.get_model_config("dots")):
                with pytest.raises(InferenceServerException, match="is restricted"):
                    closed()
            assert plain.get_inference_statistics(headers=options.admin_headers).model_stats
        for port in (options.http_port, options.metrics_port):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", port), timeout=5)


def _fill_ours(repository: Path) -> None:
    change_layout(repository, "dots", ServingConfig(max_queue=1))


def _fill_triton_s(repository: Path) -> None:
    """Of a detector that does not say how busy it is, as those that Triton runs itself."""
    model, config = (
        repository / "dots_detector" / "1" / "model.py",
        repository / "dots_detector" / "config.pbtxt",
    )
    write_file(model, model.read_bytes().replace(b"QueuedModel", b"StageModel"))
    write_file(
        config,
        config.read_bytes()
        + b"\ndynamic_batching { default_queue_policy { max_queue_size: 1 } }\n",
    )


@pytest.mark.parametrize("fill", [_fill_ours, _fill_triton_s])
def test_a_full_queue_is_an_overload(
    connect: Any, small: Path, tmp_path: Path, fill: Callable[[Path], None]
) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(small, repository)
    fill(repository)
    options = ServerOptions.on_free_ports(repository)
    with launched(options), connect(options.grpc_url, pipeline="dots") as client:
        client.predict(PNG)
        outcomes = list(client.predict_many([PNG] * 64, concurrency=32))
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    assert errors
    assert len(errors) < 64
    for error in errors:
        assert isinstance(error, Overloaded), error
        assert (error.code, error.retryable) == ("UNAVAILABLE", True)


def test_a_pipeline_that_was_unloaded_is_unavailable_there(connect: Any, fused: Path) -> None:
    """What a server says of its pipelines while it stops: another server may have them."""
    options = replace(ServerOptions.on_free_ports(fused), reload=True)
    with (
        launched(options),
        connect(options.grpc_url, pipeline="dots", timeout_s=20) as client,
    ):
        client.predict(PNG)
        tritonclient.grpc.InferenceServerClient(options.grpc_url).unload_model(
            "dots", options.admin_headers
        )
        with pytest.raises(Unavailable, match="has no available versions") as caught:
            client.predict(PNG)
        assert (caught.value.code, caught.value.retryable) == ("NOT_FOUND", True)


def test_a_dead_stage_is_said_to_be_dead(connect: Any, small: Path) -> None:
    options = ServerOptions.on_free_ports(small)
    with (
        launched(options) as triton,
        connect(options.grpc_url, pipeline="dots", timeout_s=20) as client,
    ):
        client.predict(PNG)
        for process in psutil.Process(triton.pid).children(recursive=True):
            if "stub" in process.name() and "dots_nms" in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
        with pytest.raises(StageFailed, match="is not healthy") as caught:
            client.predict(PNG)
        assert (caught.value.code, caught.value.retryable) == ("INTERNAL", True)


def _inferences(server: ServerOptions, model: str) -> int:
    import tritonclient.grpc as tritonclient

    client = tritonclient.InferenceServerClient(server.grpc_url)
    return int(client.get_inference_statistics(model).model_stats[0].inference_count)


@pytest.mark.parametrize("end", ["cancel", "deadline"])
def test_a_call_that_nobody_waits_for_runs_no_more_networks(
    connect: Any, server: ServerOptions, end: str
) -> None:
    """It ends while its image, which takes 0.3 s, is being decoded: the detector asks, and nms
    never hears of it.
    """
    noise = np.random.default_rng(0).integers(0, 256, (4500, 5000, 3), np.uint8)
    large = cv2.imencode(".jpg", noise)[1].tobytes()
    with connect(server.grpc_url, pipeline="dots", timeout_s=60) as client:
        assert len(client.predict(PNG)) == 12
        time.sleep(0.3)  # Triton counts an inference after it has answered
        decoded, suppressed = (
            _inferences(server, "dots_preprocess"),
            _inferences(server, "dots_nms"),
        )
        if end == "cancel":
            pending = client.submit(large)
            time.sleep(0.15)
            pending.cancel()
            with pytest.raises(Cancelled):
                pending.result(10)
        else:
            with pytest.raises(DeadlineExceeded):
                client.predict(large, timeout_s=0.15)
        until = time.monotonic() + 3
        while _inferences(server, "dots_preprocess") == decoded and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        assert _inferences(server, "dots_nms") == suppressed
        assert len(client.predict(PNG)) == 12


def test_two_servers_one_killed_and_started_again_under_load(
    fused: Path, figures: list[str]
) -> None:
    options = [ServerOptions.on_free_ports(fused) for _ in range(2)]
    first, second = (TritonProcess.start(each) for each in options)
    ended, answered = threading.Event(), [0] * 4
    with (
        ThreadPoolExecutor(len(answered)) as pool,
        second,
        Client([each.grpc_url for each in options], pipeline="dots") as client,
    ):

        def load(thread: int) -> None:
            while not ended.is_set():
                assert len(client.predict(PNG)) == 12
                answered[thread] += 1

        def wait_until(happened: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 30
            while not happened() and not any(each.done() for each in loads):
                assert time.monotonic() < deadline
                time.sleep(0.02)

        def wait_for(calls: int) -> None:
            until = sum(answered) + calls
            wait_until(lambda: sum(answered) >= until)

        try:
            loads = [pool.submit(load, thread) for thread in range(len(answered))]
            wait_for(100)
            os.kill(first.pid, signal.SIGKILL)
            wait_for(100)
            first.stop()
            with launched(options[0]):
                before = _inferences(options[0], "dots")
                wait_until(lambda: _inferences(options[0], "dots") > before)
                ended.set()
                for each in loads:
                    each.result()
        finally:
            ended.set()
            first.stop()
    figures.append(
        f"one of two servers killed and restarted under load: 0 of {sum(answered)} calls failed"
    )


def test_one_server_killed_is_a_clear_error_and_its_return_is_noticed(
    connect: Any, fused: Path
) -> None:
    options = ServerOptions.on_free_ports(fused)
    with connect(options.grpc_url, pipeline="dots") as client:
        with launched(options) as triton:
            client.predict(PNG)
            os.kill(triton.pid, signal.SIGKILL)
            with pytest.raises(Unavailable):
                client.predict(PNG)
        with launched(options):
            started = time.monotonic()
            assert len(client.predict(PNG)) == 12
            assert time.monotonic() - started < 1.0


def _slots(*others: int) -> set[str]:
    """Those of this process, which others run beside, and of these."""
    return {
        path.name for pid in (os.getpid(), *others) for path in FOLDER.glob(f"{PREFIX}*-{pid}-*")
    }


def test_frames_travel_through_shared_memory_and_nothing_is_left(
    connect: Any, server: ServerOptions
) -> None:
    assert _slots() == _registered(server) == set()
    frame = np.zeros((1080, 1920, 3), np.uint8)
    frame[:512, :512] = FRAME
    with connect(server.grpc_url, pipeline="dots", transfer="shm") as client:
        raw = client.predict(frame, transfer="raw")
        for _ in range(3):
            shared = client.predict(frame)
            np.testing.assert_array_equal(shared.xyxy, raw.xyxy)
        assert len(_slots()) == 1
        assert _registered(server) == _slots()
        assert len(client.predict(FRAME)) == 12  # a smaller one fits too
        client.predict(np.zeros((2000, 3000, 3), np.uint8))  # a larger one replaces it
        assert len(_slots()) == 1
        assert _registered(server) == _slots()
    assert _slots() == _registered(server) == set()


def test_a_client_that_is_closed_leaves_no_region_in_the_server(
    connect: Any, server: ServerOptions
) -> None:
    """Calls of many sizes, some cancelled while they are sent, and some in flight when it is
    closed: what the server still reads then, the next client finds.
    """
    sizes = [(200 * n, 300 * n, 3) for n in (1, 2, 4, 8)] * 4
    with connect(server.grpc_url, pipeline="dots", transfer="shm", timeout_s=60) as client:
        client.predict(FRAME)
        calls = [client.submit(np.zeros(size, np.uint8)) for size in sizes]
        for number, call in enumerate(calls[:12]):
            if number % 3 == 0:
                call.cancel()
            else:
                call.result(60)
        client.close()
        for call in calls:
            with suppress(Cancelled):
                call.result(60)
    deadline = time.monotonic() + 20
    while left := _registered(server):
        assert left == _slots(), "a region without a name is never found"
        assert time.monotonic() < deadline, left
        with connect(server.grpc_url, pipeline="dots", transfer="shm") as client:
            assert len(client.predict(FRAME)) == 12
    assert _slots() == set()


def _registered(server: ServerOptions) -> set[str]:
    import tritonclient.grpc as tritonclient

    client = tritonclient.InferenceServerClient(server.grpc_url)
    return set(client.get_system_shared_memory_status().regions)


_DIES = """
import sys, os, signal, numpy as np
from boxwise import Client
client = Client(sys.argv[1], pipeline="dots", transfer="shm")
client.predict(np.zeros((600, 600, 3), np.uint8))
print("ready", flush=True)
signal.pause()
"""


def test_what_a_killed_client_leaves_goes_with_the_next_and_what_others_use_stays(
    server: ServerOptions,
) -> None:
    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _DIES, server.grpc_url], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    dead, alive = start(), start()
    theirs, others = _slots(dead.pid), _slots(alive.pid)
    dead.kill()
    dead.wait()
    try:
        assert len(theirs) == len(others) == 1
        assert theirs == _slots(dead.pid)
        with Client(server.grpc_url, pipeline="dots", transfer="shm") as client:
            client.predict(FRAME)
        assert _slots(dead.pid, alive.pid) == others
        assert theirs.isdisjoint(_registered(server))
        assert others <= _registered(server)
    finally:
        alive.kill()
        alive.wait()
        with Client(server.grpc_url, pipeline="dots", transfer="shm") as client:
            client.predict(FRAME)
    assert _slots(dead.pid, alive.pid) == _registered(server) == set()


def test_what_a_program_leaves_that_closes_nothing_goes_with_the_next_client(
    server: ServerOptions,
) -> None:
    forgetful = _DIES.replace("signal.pause()", "")
    subprocess.run([sys.executable, "-c", forgetful, server.grpc_url], check=True, timeout=60)
    assert len(_registered(server)) == 1
    with Client(server.grpc_url, pipeline="dots", transfer="shm") as client:
        client.predict(FRAME)
    assert _registered(server) == set()


def test_a_restarted_server_is_told_of_the_slots_again(connect: Any, fused: Path) -> None:
    options = replace(ServerOptions.on_free_ports(fused), client_shm=True)
    with connect(options.grpc_url, pipeline="dots", transfer="shm") as client:
        for _ in range(2):
            with launched(options):
                assert len(client.predict(FRAME)) == 12
                assert _registered(options)


def test_a_server_that_allows_no_shared_memory_is_sent_frames_with_one_warning(
    connect: Any, fused: Path
) -> None:
    options = ServerOptions.on_free_ports(fused)
    with (
        launched(options),
        connect(options.grpc_url, pipeline="dots", transfer="shm") as client,
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        for _ in range(3):
            assert len(client.predict(FRAME)) == 12
    (warning,) = [each for each in warned if each.category is UserWarning]
    assert re.search(
        r"the server refuses .*serve --client-shm.*; frames are sent over the wire",
        str(warning.message),
    )


def test_a_trace_goes_on_in_triton(fused: Path) -> None:
    """Triton's spans carry the trace id of the call's traceparent."""
    bodies: list[bytes] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    tracing = (
        "mode=opentelemetry",
        f"opentelemetry,url=http://127.0.0.1:{collector.server_port}/v1/traces",
    )
    settings = (*tracing, "rate=1", "level=TIMESTAMPS", "opentelemetry,bsp_schedule_delay=100")
    options = ServerOptions.on_free_ports(fused)
    options = replace(options, extra_args=tuple(f"--trace-config={each}" for each in settings))
    trace_id, span_id = secrets.token_bytes(16), secrets.token_bytes(8)
    header = f"00-{trace_id.hex()}-{span_id.hex()}-01"
    with (
        launched(options),
        Client(options.grpc_url, pipeline="dots", metadata={"traceparent": header}) as client,
    ):
        client.predict(PNG)
        deadline = time.monotonic() + 10
        while (
            not any(trace_id.hex().encode() in body for body in bodies)
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
    collector.shutdown()
    collector.server_close()
    assert any(
        trace_id.hex().encode() in body and span_id.hex().encode() in body for body in bodies
    )


def test_async_calls_share_one_connection(server: ServerOptions) -> None:
    import asyncio

    async def main() -> tuple[int, int]:
        async with AsyncClient(server.grpc_url, pipeline="dots") as client:
            results = await asyncio.gather(*(client.predict(PNG) for _ in range(32)))
            (pool,) = client._pools.values()
            return sum(map(len, results)), len(pool._connections)

    assert asyncio.run(main()) == (32 * 12, 1)
