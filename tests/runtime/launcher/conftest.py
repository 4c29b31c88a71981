"""Tiny repositories for a real Triton, and a look at what a server left behind."""

import os
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from boxwise_runtime.launcher import ServerOptions

CONFIG = """
backend: "python"
max_batch_size: 0
input { name: "x" data_type: TYPE_INT32 dims: -1 }
output { name: "y" data_type: TYPE_INT32 dims: -1 }
instance_group { count: 1 kind: KIND_CPU }
"""
ECHO = """
import time
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        replies = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            time.sleep(x[0] / 1000)  # the first number: how many milliseconds it takes
            replies.append(pb.InferenceResponse([pb.Tensor("y", x)]))
        return replies
"""

WriteModel = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOXWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Write a model into the test's repository; return the repository."""

    def write(name: str = "echo", code: str = ECHO, config: str = CONFIG) -> Path:
        repository = tmp_path / "repository"
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config)
        (repository / name / "1" / "model.py").write_text(textwrap.dedent(code))
        return repository

    return write


@pytest.fixture
def on_free_ports() -> Callable[[Path], ServerOptions]:
    def options(repository: Path, **others: object) -> ServerOptions:
        return replace(ServerOptions.on_free_ports(repository), **others)

    return options


@pytest.fixture
def echo_options(
    write_model: WriteModel, on_free_ports: Callable[[Path], ServerOptions]
) -> ServerOptions:
    return on_free_ports(write_model())


@pytest.fixture
def infer() -> Callable[..., list[int]]:
    """Ask the echo model over gRPC."""

    def ask(
        options: ServerOptions, *numbers: int, timeout_s: float = 10, model: str = "echo"
    ) -> list[int]:
        with triton.InferenceServerClient(f"127.0.0.1:{options.grpc_port}") as client:
            x = triton.InferInput("x", [len(numbers)], "INT32")
            x.set_data_from_numpy(np.array(numbers, np.int32))
            reply = client.infer(model, [x], client_timeout=timeout_s).as_numpy("y")
            assert reply is not None
            return [int(number) for number in reply]

    return ask


def running(repository: Path) -> list[str]:
    """Command lines of the server and stubs of a repository that still run, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_text(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if str(repository) in command and "triton" in command:
                found.append(command)
    return found


@pytest.fixture
def nothing_left() -> Callable[..., None]:
    """Assert that within `within_s` no process of a server runs, and no segment of its is in
    /dev/shm.
    """

    def check(options: ServerOptions, within_s: float = 0) -> None:
        deadline = time.monotonic() + within_s
        while True:
            segments = Path("/dev/shm").glob(f"boxwise-{options.http_port}-*")
            left = [*running(options.repository), *map(str, segments)]
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert left == []

    return check
