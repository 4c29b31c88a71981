"""A real Envoy with deploy/envoy/envoy.yaml, as it is but for its ports and what a test says it
changes.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from boxwise import TLS, Client
from boxwise_runtime.launcher import free_ports

ROOT = Path(__file__).resolve().parents[3]
ENVOY = ROOT / ".venv-front" / "bin" / "envoy"
CONFIG = ROOT / "deploy" / "envoy" / "envoy.yaml"
KEYS = runpy.run_path(str(ROOT / "deploy" / "envoy" / "trial_keys.py"))
FLUSH = ("--file-flush-interval-msec", "50")  # of the access log; 10 s else
PIPELINE = "dots"


@dataclass
class Keys:
    """What trial_keys.py writes into a folder, and more tokens of its key."""

    folder: Path

    def __post_init__(self) -> None:
        self._key = KEYS["write"](self.folder)

    def token(self, key: Any = None, **claims: object) -> str:
        return str(KEYS["token"](key or self._key, **claims))

    def bearer(self, **claims: object) -> tuple[str, str]:
        """The header with a token."""
        return "authorization", f"Bearer {self.token(**claims)}"


@dataclass
class Front:
    """One that runs.

    Attributes:
        port: where it listens for TLS.
        admin: the address of its admin interface.
        keys: of its certificate and its tokens.
        pid: its process.
        log: its lines on standard output so far, the access log.
    """

    port: int
    admin: str
    keys: Keys
    pid: int
    log: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"localhost:{self.port}"

    @property
    def ca(self) -> Path:
        return self.keys.folder / "ca.pem"

    def client(
        self,
        kind: Any = Client,
        token: str | None = None,
        certificate: Path | None = None,
        **options: Any,
    ) -> Any:
        """The SDK, with a token that is good unless it is given."""
        token = self.keys.token() if token is None else token
        tls = TLS(ca=self.ca, certificate=certificate)
        return kind(self.url, pipeline=PIPELINE, tls=tls, token=token or None, **options)

    def logged(self, **fields: object) -> dict[str, Any]:
        """The line of the access log with these fields, when it is there."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            for line in map(json.loads, list(self.log)):
                if fields.items() <= line.items():
                    return dict(line)
            time.sleep(0.02)
        raise AssertionError(f"not in the access log: {fields}")


def changed(text: str, changes: dict[str, str]) -> str:
    """A configuration with other numbers; each must be there, once."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"{text.count(old)} times in {CONFIG.name}: {old}"
        text = text.replace(old, new)
    return text


@contextmanager
def running(
    keys: Keys, triton_port: int, folder: Path, changes: dict[str, str] | None = None
) -> Iterator[Front]:
    """An Envoy in front of this port of this machine, until the block ends."""
    port, admin = free_ports(2)
    ports = {"port_value: 8443": f"port_value: {port}", "port_value: 9901": f"port_value: {admin}"}
    ports["127.0.0.1, port_value: 8001"] = f"127.0.0.1, port_value: {triton_port}"
    config = folder / f"{port}.yaml"
    config.write_text(changed(CONFIG.read_text(), ports | (changes or {})))
    with (folder / f"{port}.log").open("w+") as errors:
        process = subprocess.Popen(
            [
                ENVOY,
                "-c",
                config,
                "--disable-hot-restart",
                "--concurrency",
                "2",
                "--log-level",
                "warning",
                *FLUSH,
            ],
            cwd=keys.folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        front = Front(port, f"http://127.0.0.1:{admin}", keys, process.pid)
        reader = threading.Thread(target=_read, args=(process, front.log), daemon=True)
        reader.start()
        try:
            _wait_until_ready(process, front, errors.name)
            yield front
        finally:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            reader.join()


def _read(process: subprocess.Popen[str], log: list[str]) -> None:
    assert process.stdout is not None
    log.extend(process.stdout)


def _wait_until_ready(process: subprocess.Popen[str], front: Front, log: str) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        try:
            if requests.get(f"{front.admin}/ready", timeout=1).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"Envoy did not get ready: {Path(log).read_text()}")
