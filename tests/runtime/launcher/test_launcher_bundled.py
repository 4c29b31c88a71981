"""The bundled server in the place of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from boxwise_runtime.launcher import LaunchError, bundled
from boxwise_runtime.resources import available


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


def test_the_image_s_own_server_is_given_a_repository_that_fits(tmp_path: Path) -> None:
    """As in the image on NVIDIA's Triton: a script that prints its arguments stands in for their
    tritonserver.
    """
    program = tmp_path / "tritonserver"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    model = tmp_path / "models" / "street"
    (model / "1").mkdir(parents=True)
    group = 'instance_group {\n  name: "cores"\n  count: 64\n  kind: KIND_CPU\n}\n'
    (model / "config.pbtxt").write_text(f'backend: "python"\n{group}')
    environment = dict(os.environ, BOXWISE_TRITONSERVER=str(program), TMPDIR=str(tmp_path))
    command = [
        sys.executable,
        "-m",
        "boxwise_runtime.launcher.bundled",
        f"--model-repository={model.parent}",
        "--a=b c",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"--model-repository={tmp_path}/boxwise-models/0 --a=b c\n"
    assert "fitted to this machine" in done.stderr
    served = (tmp_path / "boxwise-models" / "0" / "street" / "config.pbtxt").read_text()
    assert f"count: {min(available().cores, 8)}\n" in served
    assert (tmp_path / "boxwise-models" / "0" / "street" / "1").resolve() == (model / "1").resolve()


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
