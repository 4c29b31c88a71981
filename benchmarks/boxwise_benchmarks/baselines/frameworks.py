"""Serving frameworks from PyPI, in an environment of their own, called over HTTP on loopback.

They run the same graphs in the same ONNX Runtime with the same stage functions, so that only the
serving differs.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from importlib.metadata import distributions
from pathlib import Path
from typing import ClassVar

import psutil

from boxwise_benchmarks.baselines.base import Detections, Peer
from boxwise_benchmarks.baselines.recipe import Recipe
from boxwise_runtime.launcher.options import free_ports

ENVIRONMENT = Path(__file__).resolve().parents[3] / ".venv-peers"
_READY_S = 60  # importing and loading take 3 to 6 s on 2 busy cores
_POLL_S = 0.1
_STOP_S = 10
_CALL_S = 60
_LAST_LINES = 15


class FrameworkError(RuntimeError):
    """A framework's server cannot be started or does not respond; the message has the fix."""


class Framework(Peer):
    """One POST per image, with the file as its body, over one connection per thread.

    Args:
        recipe: of the pipeline.
        environment: where the framework is installed.

    Attributes:
        package: of the framework, on PyPI.
        module: serves RECIPE on PORT.
        ready: path that returns 200 once the server is ready.
    """

    package: ClassVar[str]
    module: ClassVar[str]
    ready: ClassVar[str]

    def __init__(self, recipe: Recipe, environment: Path = ENVIRONMENT) -> None:
        self._recipe = recipe
        self._environment = environment
        self._own = threading.local()

    def start(self, stack: ExitStack) -> None:
        """Start the server and wait until it is ready.

        Raises:
            FrameworkError: its environment is missing, or the server ended or was not ready in
                time.
        """
        python = installed(self._environment)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="boxwise-peer-")))
        self._recipe.write(folder / "recipe.json")
        log = folder / "log"
        (self._port,) = free_ports(1)
        with log.open("wb") as output:
            server = subprocess.Popen(
                [python, "-m", self.module, folder / "recipe.json", str(self._port)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Only the benchmark gets Ctrl-C, and then stops its servers.
                start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        stack.callback(_end, server)
        self._wait_until_ready(server, log)

    def call(self, image: bytes) -> Detections:
        """Post an image.

        Raises:
            FrameworkError: the status is not 200.
        """
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_CALL_S)
            self._own.connection = connection
        connection.request("POST", "/predict", image, {"Content-Type": "image/jpeg"})
        reply = connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise FrameworkError(
                f"{self.name}: expected 200, got {reply.status}: "
                f"{body[:300].decode(errors='replace')}"
            )
        return Detections.from_json(body, self._recipe.top_k)

    def _wait_until_ready(self, server: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + _READY_S
        while not self._is_ready():
            code = server.poll()
            if code is None and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            why = (
                f"ended with exit code {code}"
                if code is not None
                else f"was not ready after {_READY_S} s"
            )
            last = "\n  ".join(
                log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
            )
            raise FrameworkError(f"the server of {self.name} {why}; the end of its log:\n  {last}")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", self.ready)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class LitServe(Framework):
    """Lightning's LitServe: FastAPI in front, workers behind queues."""

    name = "litserve"
    package = "litserve"
    module = "boxwise_benchmarks.baselines.litserve_app"
    ready = "/health"


class BentoML(Framework):
    """BentoML: workers that are ASGI servers on a shared socket."""

    name = "bentoml"
    package = "bentoml"
    module = "boxwise_benchmarks.baselines.bentoml_app"
    ready = "/readyz"


FRAMEWORKS: tuple[type[Framework], ...] = (LitServe, BentoML)


def installed(environment: Path = ENVIRONMENT) -> Path:
    """Return the Python of the frameworks' environment.

    Raises:
        FrameworkError: it does not exist.
    """
    python = environment / "bin" / "python"
    if not python.exists():
        raise FrameworkError(
            f"{' and '.join(each.name for each in FRAMEWORKS)} are not installed: "
            f"{environment.name} is missing; create it with `make .venv-peers/.dev`, or leave them "
            "out with --without-frameworks"
        )
    return python


def versions(environment: Path = ENVIRONMENT) -> dict[str, str]:
    """Return the versions of the packages that affect the figures."""
    (packages,) = environment.glob("lib/python*/site-packages")
    wanted = {
        "bentoml",
        "fastapi",
        "litserve",
        "numpy",
        "onnxruntime",
        "opencv-python-headless",
        "uvicorn",
    }
    found = {each.metadata["Name"]: each.version for each in distributions(path=[str(packages)])}
    return {name: found[name] for name in sorted(wanted & found.keys())}


def _end(server: subprocess.Popen[bytes]) -> None:
    """Stop a server and its workers, some of which run in sessions of their own."""
    try:
        family = psutil.Process(server.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    _, left = psutil.wait_procs(family, timeout=1)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=_STOP_S)
