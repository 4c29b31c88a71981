"""Servers and repositories of a test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from boxwise_runtime.launcher import ServerOptions
from boxwise_runtime.launcher.binary import locate


def write_tritonserver(folder: Path) -> Path:
    """A program that is the bundled server, and stands in for the container's with `--server`."""
    bundled = locate(ServerOptions(folder))
    own = " ".join(f"{name}={bundled.environment[name]}" for name in ("LD_LIBRARY_PATH", "PATH"))
    script = folder / "tritonserver"
    script.write_text(f'#!/bin/sh\n{own} exec {bundled.program} {bundled.arguments[0]} "$@"\n')
    script.chmod(0o755)
    return script


def copy_pipeline(repository: Path, pipeline: str, to: Path) -> Path:
    """A new repository with one pipeline of another; returns it."""
    to.mkdir()
    for path in repository.glob(f"{pipeline}*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, to / path.name)
    return to
