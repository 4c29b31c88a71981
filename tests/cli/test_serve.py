"""`boxwise serve` as a process, in front of a real Triton."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from contract_support.servers import server_of, serving

from boxwise_runtime.launcher import free_ports
from boxwise_runtime.stub_processes import stubs_of

CONFIG = """
backend: "python"
input { name: "x" data_type: TYPE_INT32 dims: 1 }
output { name: "y" data_type: TYPE_INT32 dims: 1 }
instance_group { count: 1 kind: KIND_CPU }
"""
MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return []
"""


@pytest.fixture
def ports() -> list[int]:
    return free_ports(3)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Pipelines `street` and `yard`, as the names of their info models have it."""
    for name in ("street_info", "yard_info"):
        (tmp_path / "repository" / name / "1").mkdir(parents=True)
        (tmp_path / "repository" / name / "config.pbtxt").write_text(CONFIG)
        (tmp_path / "repository" / name / "1" / "model.py").write_text(MODEL)
    return tmp_path / "repository"


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def kill_a_stage(process: subprocess.Popen[str]) -> None:
    stub = next(stub for stub in stubs_of(server_of(process)) if stub.model == "street_info")
    os.kill(stub.pid, signal.SIGKILL)


def assert_nothing_left(repository: Path, ports: list[int]) -> None:
    assert not list(Path("/dev/shm").glob(f"boxwise-{ports[1]}-*"))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert str(repository) not in (entry / "cmdline").read_text()
            except OSError:
                continue


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_line_when_ready_and_a_clean_stop(
    repository: Path, ports: list[int], number: signal.Signals
) -> None:
    grpc, http, metrics = ports
    with serving(repository, ports) as process:
        assert first_line(process) == (
            f"ready: street, yard on grpc 127.0.0.1:{grpc}, http://127.0.0.1:{http}, "
            f"metrics http://127.0.0.1:{metrics}/metrics\n"
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as reply:
            assert reply.status == 200
        os.killpg(process.pid, number)  # as a terminal sends Ctrl-C: to the whole group
        output, errors = process.communicate(timeout=10)
        assert (process.returncode, output, errors) == (0, "", "")
    assert_nothing_left(repository, ports)


def test_a_stop_while_the_models_load(repository: Path, ports: list[int]) -> None:
    model = repository / "street_info" / "1" / "model.py"
    model.write_text(
        f"import time\nopen({str(repository.parent / 'loading')!r}, 'w')\ntime.sleep(60)\n{MODEL}"
    )
    with serving(repository, ports) as process:
        deadline = time.monotonic() + 20
        while not (repository.parent / "loading").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=5) == ("", "")
        assert process.returncode == 0
    assert_nothing_left(repository, ports)


def test_a_dead_stage_is_served_again(repository: Path, ports: list[int]) -> None:
    with serving(repository, ports) as process:
        first = first_line(process)
        kill_a_stage(process)
        began = time.monotonic()
        assert first_line(process) == first
        assert time.monotonic() - began < 30
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert errors.startswith("the stage 'street_info' died (")
        assert errors.endswith("; restarting the server\n")
    assert_nothing_left(repository, ports)


def test_no_restart_ends_with_the_stage_named(repository: Path, ports: list[int]) -> None:
    with serving(repository, ports, "--no-restart") as process:
        first_line(process)
        kill_a_stage(process)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 1
        assert errors.startswith("error: the stage 'street_info' died (")
        assert errors.count("\n") == 1
    assert_nothing_left(repository, ports)


def test_a_killed_command_leaves_nothing(repository: Path, ports: list[int]) -> None:
    with serving(repository, ports) as process:
        first_line(process)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 5
        while True:
            try:
                assert_nothing_left(repository, ports)
                break
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def failed(repository: Path, ports: list[int], *more: str) -> str:
    with serving(repository, ports, *more) as process:
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output) == (1, "")
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
    return errors


def test_a_taken_port_is_one_sentence(repository: Path, ports: list[int]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports[0]))
        other.listen()
        assert f"port {ports[0]} on 127.0.0.1 is taken" in (errors := failed(repository, ports))
        assert "--grpc-port" in errors


def test_a_missing_repository_is_one_sentence(tmp_path: Path, ports: list[int]) -> None:
    assert "nowhere does not exist" in failed(tmp_path / "nowhere", ports)


def test_a_target_that_is_not_bundled_is_one_sentence(repository: Path, ports: list[int]) -> None:
    assert "container" in failed(repository, ports, "--target", "tensorrt")


def test_a_model_that_fails_to_load_is_one_sentence(repository: Path, ports: list[int]) -> None:
    (repository / "yard_info" / "1" / "model.py").write_text("1 / 0")
    assert failed(repository, ports) == (
        "error: the model 'yard_info' failed to load: ZeroDivisionError: division by zero\n"
    )
    assert_nothing_left(repository, ports)


def test_other_machines_are_answered_only_when_that_was_said(
    repository: Path, ports: list[int]
) -> None:
    assert "give --public, with --tls-cert and --tls-key" in failed(
        repository, ports, "--host", "0.0.0.0"
    )


def test_verbose_shows_the_log_and_a_public_server_is_warned_of(
    repository: Path, ports: list[int]
) -> None:
    with serving(repository, ports, "--verbose", "--public", "--without-tls") as process:
        assert f"grpc 127.0.0.1:{ports[0]}" in first_line(process)
        socket.create_connection(("127.0.0.2", ports[0]), timeout=5).close()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert errors.startswith(
            "warning: the bundled Triton has published vulnerabilities, and other machines can"
        )
        assert "successfully loaded 'street_info'" in errors
