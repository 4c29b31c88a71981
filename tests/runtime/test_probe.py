"""The probe against servers that say what a test wants; tests/helm asks a real one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from boxwise_runtime import probe
from boxwise_runtime.stub_processes import Stub

PIPELINE = "street"


class Server(ThreadingHTTPServer):
    """HTTP and metrics on one port."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body, self.delay = 200, b"{}", 0.0
        self.successes = 0  # and one more each time it is asked, where `busy`
        self.busy = False
        self.asked: list[tuple[str, bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.successes += self.server.busy
        lines = [
            "# HELP nv_inference_request_success x",
            f'nv_inference_request_success{{model="{PIPELINE}",version="1"}} '
            f"{self.server.successes}",
            'nv_inference_request_success{model="street_nms",version="1"} 7',
            f'nv_inference_request_success{{model="{PIPELINE}_raw",version="1"}} 0',
        ]
        self.reply(200, "\n".join(lines).encode())

    def do_POST(self) -> None:
        self.server.asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        time.sleep(self.server.delay)
        self.reply(self.server.status, self.server.body)

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(probe, "stubs_of", lambda _: [])
    with Server() as server:
        yield server
        server.shutdown()


def ask(server: Server, timeout_s: float = 5) -> str | None:
    port = server.server_address[1]
    return probe.probe(PIPELINE, "127.0.0.1", port, port, timeout_s)


def test_an_answer_passes(server: Server) -> None:
    assert ask(server) is None
    ((path, body),) = server.asked
    assert path == f"/v2/models/{PIPELINE}/infer"
    assert body.endswith(probe.IMAGE)


def test_its_image_is_one() -> None:
    frame = cv2.imdecode(np.frombuffer(probe.IMAGE, np.uint8), cv2.IMREAD_COLOR)
    assert frame is not None
    assert frame.shape == (1, 1, 3)


@pytest.mark.parametrize("words", probe.BUSY)
def test_a_full_queue_passes(server: Server, words: bytes) -> None:
    server.status, server.body = 503, b'{"error":"' + words + b'"}'
    assert ask(server) is None


def test_an_error_fails_with_its_words(server: Server) -> None:
    server.status, server.body = 500, b'{"error":"Stub process is not healthy."}'
    assert ask(server) == 'street returned 500: {"error":"Stub process is not healthy."}'


def test_who_waits_while_others_are_answered_passes(server: Server) -> None:
    server.delay, server.busy = 2, True
    assert ask(server, 0.3) is None


def test_who_waits_while_nobody_is_answered_fails(server: Server) -> None:
    server.delay = 2
    assert ask(server, 0.3) == "street did not respond within 0.3 s, nor to any other request"


def test_nobody_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "stubs_of", lambda _: [])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (
        probe.probe(PIPELINE, "127.0.0.1", port, port, 1)
        == "the server does not respond: Connection refused"
    )


def test_what_speaks_no_http_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "stubs_of", lambda _: [])
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            for _ in range(2):
                listening.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        port = listening.getsockname()[1]
        failure = probe.probe(PIPELINE, "127.0.0.1", port, port, 2)
    assert failure is not None
    assert failure.startswith("the server does not respond")


def test_a_dead_stage_fails_before_anything_is_sent(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "stubs_of", lambda _: [Stub(7, "", dead=True)])
    monkeypatch.setattr(probe, "REAPED_S", 0)
    assert ask(server) == "a stage died (its process 7 crashed or was killed; out of memory?)"
    assert not server.asked


def test_a_stage_that_triton_ended_itself_is_not_dead(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([[Stub(7, "", dead=True)], []])
    monkeypatch.setattr(probe, "stubs_of", lambda _: next(looks))
    monkeypatch.setattr(probe, "REAPED_S", 0)
    assert ask(server) is None


def test_the_program_exits_with_one_and_says_why() -> None:
    command = [
        sys.executable,
        "-m",
        "boxwise_runtime.probe",
        PIPELINE,
        "--http-port",
        "1",
        "--timeout",
        "1",
    ]
    # This test's process stands for the server: process 1 of the machine may have zombies.
    environment = os.environ | {probe.SERVER_PID: str(os.getpid())}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (
        1,
        "the server does not respond: Connection refused\n",
    )


def test_it_imports_nothing_slow() -> None:
    code = "import boxwise_runtime.probe, sys; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    )
    assert not loaded & {
        "numpy",
        "http.client",
        "json",
        "argparse",
        "email",
        "ssl",
        "subprocess",
        "grpc",
        "cv2",
    }
