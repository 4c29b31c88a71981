"""The tutorial is run from end to end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from boxwise_runtime.launcher import free_ports

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def test_the_tutorial_runs(demo_assets: dict[str, Path], tmp_path: Path) -> None:
    """Takes 20 s, for two exports of the demo: `diff` and `rollback` compare them."""
    text = TUTORIAL.read_text(encoding="utf-8")
    (pipeline,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "pipeline.yaml").write_text(pipeline)
    grpc, http, metrics = free_ports(3)
    # Other programs may have the usual ports here, and the cores.
    options = f"--grpc-port {grpc} --http-port {http} --metrics-port {metrics} --load-timeout 240"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    server: subprocess.Popen[str] | None = None
    printed = ""
    try:
        for language, block in re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL):
            if block.startswith("boxwise serve"):
                server = subprocess.Popen(
                    ["sh", "-c", f"exec {block.strip()} {options}"],
                    cwd=tmp_path,
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                assert server.stdout is not None
                assert server.stdout.readline().startswith("ready: kitchen on grpc")
                continue
            block = block.replace("localhost:8001", f"localhost:{grpc}").replace(
                "boxwise predict", f"boxwise predict --url localhost:{grpc}"
            )
            program = ["bash", "-euc"] if language == "bash" else [sys.executable, "-c"]
            done = subprocess.run(
                [*program, block],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            printed += done.stdout
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
    assert "taken for     detector centernet" in printed
    assert re.search(r"^cup 0\.\d+ Label\(id=967, name='espresso'", printed, re.MULTILINE)
    assert "serves kitchen revision 1" in printed
    assert (tmp_path / "models" / "kitchen.revision-1.jpg").is_file()
    assert (tmp_path / "annotated" / "coffee.png").is_file()
