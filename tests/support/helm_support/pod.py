"""A rendered pod, run on this machine as a kubelet would: its command, arguments, environment,
probes and hooks.

What a container has for itself and this machine has not is mapped, and this is all of it:

    image                  the environment of the tests, with deploy/tritonserver on PATH, as
                       Dockerfile.cpu has it
    mounts                 folders of the test (a repository, /tls, /test)
    /dev/shm               shared by all pods here, so the prefix of the segments in it gets the
                       pod's own name
    process 1              BOXWISE_SERVER_PID tells the probe which process that is
    addresses and ports    values say them: 127.0.0.x and free ones
    flags                  LEFT_OUT, which the bundled Triton 2.51 does not know
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boxwise_runtime.launcher import free_ports, guard
from helm_support.chart import ROOT, Manifest, of_kind, only, pod_of

LEFT_OUT = {
    "--allow-client-shm": "came with 26.04; before that, client shared memory cannot be turned off"
}
SHM_PREFIX = "boxwise-server-"


@dataclass(frozen=True)
class Ports:
    grpc: int
    http: int
    metrics: int

    @classmethod
    def free(cls) -> Ports:
        return cls(*free_ports(3))

    @property
    def values(self) -> dict[str, Any]:
        return {"ports": {"grpc": self.grpc, "http": self.http, "metrics": self.metrics}}


def image(folder: Path) -> Path:
    """A folder for PATH with what the image has there: tritonserver and the Python that has
    boxwise.
    """
    (folder / "bin").mkdir(parents=True)
    shutil.copy2(ROOT / "deploy" / "tritonserver", folder / "bin" / "tritonserver")
    python = folder / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return folder / "bin"


def environment(container: Manifest, manifests: list[Manifest]) -> dict[str, str]:
    """A container's own variables, those of Secrets looked up."""
    found = {}
    for each in container.get("env", []):
        if "value" in each:
            found[each["name"]] = str(each["value"])
            continue
        reference = each["valueFrom"]["secretKeyRef"]
        secrets = {one["metadata"]["name"]: one["data"] for one in of_kind(manifests, "Secret")}
        found[each["name"]] = base64.b64decode(
            secrets[reference["name"]][reference["key"]]
        ).decode()
    return found


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """$(NAME) as a kubelet replaces it in commands and arguments."""
    return re.sub(r"\$\((\w+)\)", lambda match: variables.get(match[1], match[0]), text)


@dataclass
class Pod:
    """The server's pod.

    Attributes:
        manifests: what was rendered.
        programs: of `image`.
        name: its own, in /dev/shm.
        mounts: what else is replaced in arguments, such as {"/tls/": "..."}.
    """

    manifests: list[Manifest]
    programs: Path
    name: str
    mounts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spec = pod_of(only(self.manifests, "Deployment"))["spec"]
        (self.container,) = self.spec["containers"]
        self.variables = environment(self.container, self.manifests)
        self.log: deque[str] = deque(maxlen=2000)
        self.process: subprocess.Popen[str] | None = None

    @property
    def prefix(self) -> str:
        return f"{SHM_PREFIX}{self.name}-"

    @property
    def token(self) -> str:
        return self.variables["BOXWISE_ADMIN_TOKEN"]

    @property
    def command(self) -> list[str]:
        """What the container runs."""
        words = [
            expanded(word, self.variables)
            for word in [*self.container["command"], *self.container["args"]]
            if word.partition("=")[0] not in LEFT_OUT
        ]
        for there, here in {SHM_PREFIX: self.prefix, **self.mounts}.items():
            words = [word.replace(there, here) for word in words]
        return words

    @property
    def environment(self) -> dict[str, str]:
        pid = {"BOXWISE_SERVER_PID": str(self.process.pid)} if self.process else {}
        return (
            dict(os.environ)
            | {"PATH": f"{self.programs}:{os.environ['PATH']}"}
            | self.variables
            | pid
        )

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)

    def probe(self, kind: str) -> bool:
        """Whether a probe passes, within its own time."""
        probe = self.container[f"{kind}Probe"]
        command = [expanded(word, self.variables) for word in probe["exec"]["command"]]
        try:
            done = subprocess.run(
                command,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=probe["timeoutSeconds"],
            )
        except subprocess.TimeoutExpired:
            self.said = "the kubelet's own timeout"
            return False
        self.said = done.stdout + done.stderr
        return done.returncode == 0

    def wait_until_started(self) -> None:
        """Ask the startup probe as often as the kubelet does (but sooner), and fail where it would
        restart the pod.
        """
        probe = self.container["startupProbe"]
        deadline = time.monotonic() + min(probe["periodSeconds"] * probe["failureThreshold"], 120)
        while not self.probe("startup"):
            assert self.process is not None
            assert self.process.poll() is None, "".join(self.log)
            assert time.monotonic() < deadline, self.said + "".join(self.log)
            time.sleep(0.2)

    def stop(self) -> int:
        """End it as a kubelet does: preStop, SIGTERM. Returns its exit code; out of grace, it
        fails.
        """
        assert self.process is not None
        deadline = time.monotonic() + self.spec["terminationGracePeriodSeconds"]
        hook = [
            expanded(word, self.variables)
            for word in self.container["lifecycle"]["preStop"]["exec"]["command"]
        ]
        subprocess.run(hook, env=self.environment, check=True)
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline - time.monotonic())

    def kill(self) -> None:
        """Leave nothing behind."""
        if self.process is not None:
            guard.end(self.process.pid, self.prefix)
            self.process.wait()


@contextmanager
def running(pod: Pod) -> Iterator[Pod]:
    """A pod that has started, and is gone afterwards."""
    try:
        pod.start()
        pod.wait_until_started()
        yield pod
    finally:
        pod.kill()


def helm_test(
    manifests: list[Manifest], folder: Path, programs: Path, hosts: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """What `helm test` runs, and its environment;
    `hosts` has what names in the cluster are here.
    """
    pod = only(manifests, "Pod")
    (container,) = pod["spec"]["containers"]
    config = only(manifests, "ConfigMap", "-test")
    mount = folder / "test"
    mount.mkdir(exist_ok=True)
    for name, text in config["data"].items():
        (mount / name).write_text(text)
    for name, encoded in config.get("binaryData", {}).items():
        (mount / name).write_bytes(base64.b64decode(encoded))
    words = [*container["command"], *container["args"]]
    for there, here in {"/test/": f"{mount}/", **hosts}.items():
        words = [word.replace(there, here) for word in words]
    return words, dict(os.environ) | {"PATH": f"{programs}:{os.environ['PATH']}"}
