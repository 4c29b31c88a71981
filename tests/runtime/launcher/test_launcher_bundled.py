"""The bundled server in the place of a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from boxwise_runtime.launcher import LaunchError, bundled


def test_arguments_go_to_the_server_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def become(program: Path, arguments: list[str], environment: Mapping[str, str]) -> None:
        started.extend([program, arguments, environment])

    monkeypatch.setattr(bundled.os, "execve", become)
    bundled.main(["--model-repository=/models", "--a=b c"])
    program, arguments, environment = started
    assert arguments[0] == str(program)
    assert arguments[-2:] == ["--model-repository=/models", "--a=b c"]
    assert any(each.startswith("--backend-directory=") for each in arguments)
    assert "nvidia_pytriton.libs" in environment["LD_LIBRARY_PATH"]


def test_none_to_run_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_: object) -> None:
        raise LaunchError("no Triton is installed here")

    monkeypatch.setattr(bundled, "locate", nowhere)
    with pytest.raises(SystemExit, match=r"^tritonserver: no Triton is installed here$"):
        bundled.main([])


def test_it_is_the_server_that_answers() -> None:
    command = [sys.executable, "-m", "boxwise_runtime.launcher.bundled", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "--model-repository" in done.stdout + done.stderr
