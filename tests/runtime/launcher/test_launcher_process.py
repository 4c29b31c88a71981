"""A real tritonserver, started and stopped in every way that we know."""

import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
from contract_support.servers import launched, on_ipv6, write_tritonserver
from tritonclient.utils import InferenceServerException

from boxwise_runtime.launcher import LaunchError, TritonProcess, process
from boxwise_runtime.resources import Resources
from boxwise_runtime.stub_processes import Stub, stubs_of
from boxwise_runtime.targets import TENSORRT

SLEEPY = """
import time

class TritonPythonModel:
    def initialize(self, args):
        time.sleep(60)
    def execute(self, requests):
        return []
"""


# As an export writes it that leaves instances open.
BY_CORES = """
backend: "python"
max_batch_size: 0
input { name: "x" data_type: TYPE_INT32 dims: -1 }
output { name: "y" data_type: TYPE_INT32 dims: -1 }
instance_group {
  name: "cores"
  count: 3
  kind: KIND_CPU
}
"""


def wait_for_failure(server: TritonProcess, within_s: float) -> str:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if failure := server.failure():
            return failure
        time.sleep(0.02)
    raise AssertionError("no failure was noticed")


def test_a_server_answers_on_loopback_only_and_leaves_nothing(
    echo_options, infer, nothing_left
) -> None:
    with TritonProcess.start(echo_options) as server:
        assert infer(echo_options, 0, 7) == [0, 7]
        assert server.failure() is None
        for port in echo_options.ports.values():
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            # Loopback too, but not the address that was asked for: a server on 0.0.0.0 would
            # answer.
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.2", port), timeout=1).close()
        assert os.getpgid(server.pid) == server.pid != os.getpgrp()
    nothing_left(echo_options)
    server.stop()
    for port in echo_options.ports.values():
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()


@on_ipv6
@pytest.mark.parametrize(
    "changes", [{"host": "::1"}, {"host": "::", "public": True, "without_tls": True}]
)
def test_a_server_answers_over_ipv6(echo_options, changes: dict[str, object]) -> None:
    options = replace(echo_options, **changes)
    with launched(options):
        assert options.grpc_url == f"[::1]:{options.grpc_port}"
        with tritonclient.grpc.InferenceServerClient(options.grpc_url) as client:
            assert client.is_model_ready("echo")
        for url in (f"{options.http_url}/v2/health/ready", options.metrics_url):
            urllib.request.urlopen(url, timeout=5).close()


ENSEMBLE = """
    platform: "ensemble"
    input { name: "x" data_type: TYPE_INT32 dims: -1 }
    output { name: "y" data_type: TYPE_INT32 dims: -1 }
    ensemble_scheduling {
        step { model_name: "echo" model_version: -1
            input_map { key: "x" value: "x" } output_map { key: "y" value: "between" } }
        step { model_name: "second" model_version: -1
            input_map { key: "x" value: "between" } output_map { key: "y" value: "y" } }
    }
"""


def test_a_request_in_flight_is_answered_before_the_stop(echo_options, infer, nothing_left) -> None:
    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        TritonProcess.start(echo_options) as server,
    ):
        reply = pool.submit(infer, echo_options, 700, 5)
        time.sleep(0.3)
        began = time.monotonic()
        server.stop()
        assert reply.result() == [700, 5]
        assert time.monotonic() - began < 10
    nothing_left(echo_options)


def test_a_request_between_two_steps_is_refused_rather_than_cut_off(
    write_model, on_free_ports, infer
) -> None:
    """What Triton does with an ensemble in flight; a client may try again elsewhere."""
    write_model()
    write_model("second")
    options = on_free_ports(write_model("whole", "", ENSEMBLE))
    with concurrent.futures.ThreadPoolExecutor(1) as pool, TritonProcess.start(options) as server:
        reply = pool.submit(infer, options, 700, model="whole")
        time.sleep(0.3)
        server.stop()
        with pytest.raises(InferenceServerException, match=r"UNAVAILABLE.*Server is stopping"):
            reply.result()


def test_a_stop_that_is_interrupted_leaves_nothing_either(
    echo_options, infer, nothing_left
) -> None:
    """Ctrl-C while it waits for requests under way: they are given up, and the server is gone when
    it raises.
    """
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    server = TritonProcess.start(echo_options)
    try:
        assert infer(echo_options, 0) == [0]
        signal.setitimer(signal.ITIMER_REAL, 0.3)  # a stop takes a second
        with pytest.raises(KeyboardInterrupt):
            server.stop()
        nothing_left(echo_options)
    finally:
        signal.signal(signal.SIGALRM, before)
        server.stop(timeout_s=0)


def test_a_request_that_does_not_end_is_cut_off(echo_options, infer, nothing_left) -> None:
    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        TritonProcess.start(echo_options) as server,
    ):
        reply = pool.submit(infer, echo_options, 30_000, timeout_s=20)
        time.sleep(0.3)
        began = time.monotonic()
        server.stop(timeout_s=0.5)
        assert time.monotonic() - began < 10
        assert reply.exception() is not None
    nothing_left(echo_options)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import nothing_here",
            r"^the model 'bad' failed to load: ModuleNotFoundError: .*'nothing_here'$",
        ),
        (
            "def x(:",
            r"^the model 'bad' failed to load: SyntaxError: invalid syntax \(model.py, line 1\)$",
        ),
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
            r"^the model 'bad' failed to load: its Python pro",
        ),
        (None, r"^the models do not load: Python model file not found in '.*bad/1/model\.py'$"),
    ],
)
def test_a_model_that_fails_to_load_is_one_sentence(
    write_model, on_free_ports, nothing_left, code: str | None, message: str
) -> None:
    write_model()
    repository = write_model("bad", code or "")
    if code is None:
        (repository / "bad" / "1" / "model.py").unlink()
    options = on_free_ports(repository)
    with pytest.raises(LaunchError, match=message):
        TritonProcess.start(options)
    nothing_left(options)


def test_an_ensemble_that_does_not_fit_its_models(write_model, on_free_ports) -> None:
    ensemble = """
        platform: "ensemble"
        input { name: "x" data_type: TYPE_FP32 dims: -1 }
        output { name: "y" data_type: TYPE_INT32 dims: -1 }
        ensemble_scheduling { step { model_name: "echo" model_version: -1
            input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } }
    """
    write_model()
    repository = write_model("whole", "", ensemble)
    with pytest.raises(
        LaunchError, match="in ensemble whole, ensemble tensor x: inconsistent data type"
    ):
        TritonProcess.start(on_free_ports(repository))


def test_a_load_that_takes_too_long_names_the_model(
    write_model, on_free_ports, nothing_left
) -> None:
    write_model()
    repository = write_model("sleepy", SLEEPY)
    options = on_free_ports(repository)
    with pytest.raises(
        LaunchError, match=r"not ready after 2 s \(still loading: sleepy\): .*--load-timeout"
    ):
        TritonProcess.start(options, timeout_s=2)
    nothing_left(options)


def test_a_start_can_be_interrupted(write_model, on_free_ports, nothing_left) -> None:
    options = on_free_ports(write_model("sleepy", SLEEPY))
    stop = threading.Event()
    threading.Timer(0.7, stop.set).start()
    began = time.monotonic()
    with pytest.raises(LaunchError, match="interrupted"):
        TritonProcess.start(options, stop=stop)
    assert time.monotonic() - began < 10
    nothing_left(options)


def test_a_repository_of_other_cores_is_served_with_an_instance_a_core_of_these(
    write_model, on_free_ports, monkeypatch, nothing_left
) -> None:
    monkeypatch.setattr(process, "available", lambda: Resources(2, None))
    with launched(on_free_ports(write_model(config=BY_CORES))) as server:
        assert len(stubs_of(server.pid)) == 2
        assert (
            server.fitted == "fitted to this machine (cores: 2); instances of each heavy stage: 2"
        )
        folder = server._folder
        assert folder.is_dir()
    assert not folder.exists()


def test_what_does_not_fit_into_memory_is_not_started(
    write_model, on_free_ports, monkeypatch
) -> None:
    monkeypatch.setattr(process, "available", lambda: Resources(2, 50 << 20))
    with pytest.raises(LaunchError, match=r"can take .* MB with as few in flight"):
        TritonProcess.start(on_free_ports(write_model(config=BY_CORES)))


def test_a_killed_stage_is_noticed_and_named(echo_options, nothing_left) -> None:
    with TritonProcess.start(echo_options) as server:
        (stub,) = stubs_of(server.pid)
        assert stub.model == "echo"
        os.kill(stub.pid, signal.SIGKILL)
        assert "the stage 'echo' died" in wait_for_failure(server, within_s=10)
    nothing_left(echo_options)


def test_a_dying_stage_keeps_its_name(echo_options, monkeypatch) -> None:
    """Between alive and zombie a process has no command line any more: that look must not forget
    the name.
    """
    with launched(echo_options) as server:
        (stub,) = stubs_of(server.pid)
        for dead in (False, True):
            monkeypatch.setattr(
                process, "stubs_of", lambda _, dead=dead: [Stub(stub.pid, "", dead)]
            )
            failure = server.failure()
    assert failure
    assert "the stage 'echo' died" in failure


def test_a_stage_that_is_being_reaped_has_not_died(echo_options, monkeypatch) -> None:
    """A model that Triton unloads is a zombie, too, until Triton looks."""
    with TritonProcess.start(echo_options) as server:
        (stub,) = stubs_of(server.pid)
        looks = iter([[Stub(stub.pid, "", dead=True)], []])
        monkeypatch.setattr(process, "stubs_of", lambda _: next(looks))
        assert server.failure() is None


def test_a_killed_server_is_noticed_and_cleaned_up_after(echo_options, nothing_left) -> None:
    with launched(echo_options) as server:
        os.kill(server.pid, signal.SIGKILL)
        failure = wait_for_failure(server, within_s=10)
        assert failure.startswith(
            "tritonserver ended by itself (signal SIGKILL), and its last words were: "
        )
        assert "CUDA" not in failure
    nothing_left(echo_options)


def test_an_unloaded_model_is_not_a_failure(echo_options) -> None:
    """A rollout unloads models: their stages go, and nothing has died."""
    options = replace(echo_options, reload=True)
    with launched(options) as server:
        url = f"http://127.0.0.1:{options.http_port}/v2/repository/models/echo/unload"
        urllib.request.urlopen(
            urllib.request.Request(url, b"{}", options.admin_headers), timeout=5
        ).close()
        deadline = time.monotonic() + 8
        while stubs_of(server.pid):
            assert server.failure() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert server.failure() is None


def test_the_server_outlives_the_thread_that_started_it(echo_options, infer) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        server = pool.submit(TritonProcess.start, echo_options).result()
    with server:  # the pool's thread has ended
        time.sleep(0.2)
        assert infer(echo_options, 0) == [0]


LAUNCHER = """
import multiprocessing, sys, time
from pathlib import Path
from boxwise_runtime.launcher import *
grpc, http, metrics = map(int, sys.argv[2:])
ports = dict(grpc_port=grpc, http_port=http, metrics_port=metrics)
server = TritonProcess.start(ServerOptions(Path(sys.argv[1]), **ports))
# It holds what the launcher holds.
multiprocessing.get_context("fork").Process(target=time.sleep, args=(8,)).start()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_nothing_is_left_of_a_launcher_that_is_killed(
    echo_options, infer, nothing_left, busy: bool
) -> None:
    """In the midst of requests above all: a stub whose server is killed just then waits for it
    forever.
    """
    command = [
        sys.executable,
        "-c",
        LAUNCHER,
        str(echo_options.repository),
        *map(str, echo_options.ports.values()),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "ready\n"
        launcher.stdout.close()
        assert infer(echo_options, 0) == [0]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(infer, echo_options, 1) for _ in range(500 if busy else 0)]
            time.sleep(0.2)
            launcher.kill()
            launcher.wait()
            nothing_left(echo_options, within_s=15)
            for each in asked:
                each.cancel()


def test_a_talkative_model_blocks_nobody(write_model, on_free_ports, infer) -> None:
    """A page of output fills a pipe that nobody reads, and the model with it; and the log kept
    stays small.
    """
    code = """
        import triton_python_backend_utils as pb

        class TritonPythonModel:
            def execute(self, requests):
                for number in range(5000):
                    print(f"line {number} " + "x" * 100, flush=True)
                xs = [pb.get_input_tensor_by_name(r, "x").as_numpy() for r in requests]
                return [pb.InferenceResponse([pb.Tensor("y", x)]) for x in xs]
    """
    options = on_free_ports(write_model("talker", code))
    seen: list[str] = []
    with launched(options, on_log=seen.append) as server:
        assert infer(options, 3, model="talker") == [3]
    assert sum(line.startswith("line ") for line in seen) == 5000
    assert len(server.log) < 5000


def test_an_own_server_gets_the_target_and_the_extra_arguments(
    write_model, on_free_ports, tmp_path: Path
) -> None:
    """The bundled server stands in for the container's, behind a script that leads to it."""
    repository = write_model()
    config = (repository / "echo" / "config.pbtxt").read_text()
    (repository / "echo" / "configs").mkdir()
    (repository / "echo" / "configs" / "tensorrt.pbtxt").write_text(config.replace("-1", "3"))
    server = write_tritonserver(tmp_path)
    options = on_free_ports(repository, target=TENSORRT, server=server, extra_args=("--id=ours",))
    with (
        launched(options),
        urllib.request.urlopen(f"http://127.0.0.1:{options.http_port}/v2") as reply,
    ):
        assert json.load(reply)["name"] == "ours"
        with urllib.request.urlopen(
            f"http://127.0.0.1:{options.http_port}/v2/models/echo"
        ) as described:
            assert json.load(described)["inputs"][0]["shape"] == [3]


SLOW_METRICS = """
import http.server, sys, threading, time

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass

ports = dict(argument.split("=") for argument in sys.argv if "-port=" in argument)
health = http.server.ThreadingHTTPServer(("127.0.0.1", int(ports["--http-port"])), Ready)
threading.Thread(target=health.serve_forever).start()
time.sleep(0.5)
http.server.ThreadingHTTPServer(("127.0.0.1", int(ports["--metrics-port"])), Ready).serve_forever()
"""


def test_a_server_is_ready_once_its_metrics_are(write_model, on_free_ports, tmp_path: Path) -> None:
    """Triton opens them last, and says that it is ready before it does: a program stands in for a
    busy machine.
    """
    slow = tmp_path / "tritonserver"
    slow.write_text(f"#!{sys.executable}{SLOW_METRICS}")
    slow.chmod(0o755)
    options = on_free_ports(write_model(), server=slow)
    with TritonProcess.start(options):
        socket.create_connection(("127.0.0.1", options.metrics_port), timeout=1).close()


def test_a_server_without_metrics_is_ready_without_them(echo_options, infer) -> None:
    options = replace(echo_options, extra_args=("--allow-metrics=false",))
    with launched(options, timeout_s=20):
        assert infer(options, 0, 7) == [0, 7]


def test_a_server_that_is_none_is_one_sentence(write_model, on_free_ports) -> None:
    with pytest.raises(LaunchError, match=r"^tritonserver did not start \(exit code 0\)"):
        TritonProcess.start(on_free_ports(write_model(), server=Path("true")))


BROKEN = """
from dataclasses import dataclass

from boxwise_runtime.python_backend import StageModel

@dataclass
class Broken:
    def __call__(self, inputs):
        raise KeyError("what nobody outside is to read")

class TritonPythonModel(StageModel):
    stage_type = Broken
"""


@pytest.mark.parametrize("request_id", ["", "order-17"])
def test_an_unexpected_error_is_internal_with_a_request_id_and_its_traceback_is_in_the_log_alone(
    write_model, on_free_ports, request_id: str
) -> None:
    with launched(on_free_ports(write_model(code=BROKEN))) as server:
        client = tritonclient.grpc.InferenceServerClient(server.options.grpc_url)
        tensor = tritonclient.grpc.InferInput("x", [1], "INT32")
        tensor.set_data_from_numpy(np.zeros(1, np.int32))
        with pytest.raises(InferenceServerException) as caught:
            client.infer("echo", [tensor], request_id=request_id)
        assert caught.value.status() == "StatusCode.INTERNAL"
        message = caught.value.message()
        assert "Traceback" not in message
        assert "nobody outside" not in message
        found = re.search(
            r"an unexpected error in the stage echo: .* under the request id ([\w-]+)", message
        )
        assert found is not None, message
        assert found[1] == request_id or not request_id
        deadline = time.monotonic() + 10
        while (
            "what nobody outside is to read" not in "\n".join(server.log)
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        log = "\n".join(server.log)
        assert f"boxwise: request {found[1]}: Traceback" in log
        assert "KeyError: 'what nobody outside is to read'" in log


def test_json_that_ends_triton_is_named_by_its_signal(write_model, on_free_ports) -> None:
    """Triton 2.51 parses what is nested without a bound: over HTTP, which this machine alone can
    reach.
    """
    with TritonProcess.start(on_free_ports(write_model())) as server:
        request = urllib.request.Request(
            f"{server.options.http_url}/v2/models/echo/infer", b"[" * 150_000
        )
        with pytest.raises(ConnectionError):
            urllib.request.urlopen(request, timeout=20)
        failure = wait_for_failure(server, within_s=10)
        assert failure.startswith("tritonserver ended by itself (signal SIGSEGV)")
        assert "CUDA" not in failure
