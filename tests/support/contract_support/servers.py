"""Servers and repositories of a test's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from boxwise_export.export import export
from boxwise_runtime.launcher import ServerOptions, TritonProcess
from boxwise_runtime.launcher.binary import locate
from contract_support.synthetic import DOTS, SHADE, write_dots_detector, write_mean_classifier

BOXWISE = str(Path(sys.executable).with_name("boxwise"))


def write_tritonserver(folder: Path) -> Path:
    """A program that is the bundled server, and stands in for the container's with `--server`."""
    bundled = locate(ServerOptions(folder))
    own = " ".join(f"{name}={bundled.environment[name]}" for name in ("LD_LIBRARY_PATH", "PATH"))
    script = folder / "tritonserver"
    script.write_text(f'#!/bin/sh\n{own} exec {bundled.program} {bundled.arguments[0]} "$@"\n')
    script.chmod(0o755)
    return script


def write_repository(folder: Path, name: str, *, cores: int | None = 1, **more: Any) -> Path:
    """Dots that a detector finds, and their shade, as a pipeline of this name; returns the
    repository in `folder`.

    Its file is `sources/<name>.yaml` there; several pipelines may share a folder.

    Args:
        folder: for the repository and its sources.
        name: of the pipeline.
        cores: as in `export`.
        more: goes into the pipeline's file, and what is None comes out of it.
    """
    sources, out = folder / "sources", folder / "repository"
    sources.mkdir(parents=True, exist_ok=True)
    write_dots_detector(sources / "dots.onnx")
    write_mean_classifier(sources / "mean.onnx")
    pipeline = {"name": name, "detector": DOTS, "classifiers": [SHADE], **more}
    file = sources / f"{name}.yaml"
    file.write_text(
        yaml.safe_dump({key: value for key, value in pipeline.items() if value is not None})
    )
    export(file, out, cores=cores)
    return out


def copy_pipeline(repository: Path, pipeline: str, to: Path) -> Path:
    """A new repository with one pipeline of another; returns it."""
    to.mkdir()
    for path in repository.glob(f"{pipeline}*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, to / path.name)
    return to


def _has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


on_ipv6 = pytest.mark.skipif(
    not _has_ipv6(), reason="this machine has no IPv6, not even on loopback"
)


@contextmanager
def launched(options: ServerOptions, **start: Any) -> Iterator[TritonProcess]:
    """A server that is killed at the end: a stop gives requests in flight a second, used or not.

    Args:
        options: as in `TritonProcess.start`.
        start: the same.
    """
    server = TritonProcess.start(options, **start)
    try:
        yield server
    finally:
        server.stop(timeout_s=0)


@contextmanager
def serving(
    repository: Path,
    ports: Sequence[int],
    *more: str,
    environment: Mapping[str, str] | None = None,
    files: int | None = None,
    stdout: IO[str] | int = subprocess.PIPE,
    stderr: IO[str] | int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, as a shell runs it; killed at the end if it still
    runs.

    Args:
        repository: to serve.
        ports: gRPC, HTTP, metrics.
        more: of its arguments.
        environment: left out, ours with a cache beside the repository.
        files: the hard limit of open files, where there is to be one.
        stdout: as in Popen.
        stderr: the same.
    """
    grpc, http, metrics = map(str, ports)
    limited = [] if files is None else ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"]
    command = [
        BOXWISE,
        "serve",
        str(repository),
        "--grpc-port",
        grpc,
        "--http-port",
        http,
        "--metrics-port",
        metrics,
    ]
    with subprocess.Popen(
        [*limited, *command, *more],
        env=environment or os.environ | {"BOXWISE_CACHE": str(repository.parent / "cache")},
        stdout=stdout,
        stderr=stderr,
        text=True,
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def server_of(process: subprocess.Popen[str]) -> int:
    """The process id of the tritonserver that a command runs."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            if name == "tritonserver" and int(rest.split()[1]) == process.pid:
                return int(entry.name)
    raise AssertionError("no tritonserver runs")


class Command:
    """`boxwise serve` in a process, and what it said when.

    Attributes:
        options: where it serves.
        process: the command's, not the server's.
        said: (the `time.perf_counter()`, a line) of stdout and stderr.
    """

    def __init__(self, options: ServerOptions, process: subprocess.Popen[str]) -> None:
        self.options, self.process = options, process
        self.said: list[tuple[float, str]] = []
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            threading.Thread(target=self._listen, args=(stream,), daemon=True).start()

    @property
    def server(self) -> int:
        """The process id of the tritonserver that it runs now."""
        return server_of(self.process)

    def wait_for(self, words: str, *, since: float = 0.0, timeout_s: float = 60) -> float:
        """The moment, after `since`, that it said a line with these words."""
        deadline = time.monotonic() + timeout_s
        while True:
            for moment, line in tuple(self.said):
                if moment > since and words in line:
                    return moment
            assert time.monotonic() < deadline, (
                f"{words!r} was not said within {timeout_s:g} s: {self.said}"
            )
            time.sleep(0.02)

    def _listen(self, stream: IO[str]) -> None:
        for line in stream:
            self.said.append((time.perf_counter(), line.rstrip("\n")))


@contextmanager
def served(repository: Path, *more: str) -> Iterator[Command]:
    """A repository served on free ports as users serve it, by the command; ready."""
    options = ServerOptions.on_free_ports(repository)
    with serving(repository, tuple(options.ports.values()), *more) as process:
        command = Command(options, process)
        command.wait_for("ready: ")
        yield command
