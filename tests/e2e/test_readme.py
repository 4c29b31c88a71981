"""What the documents show is run: Python against a server, and the tutorial from end to end."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from contract_support.calls import Triton
from PIL import Image

from boxwise_runtime.launcher import free_ports

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
SNIPPETS = {
    name: code
    for page, names in {
        "README.md": ("sdk", "draw"),
        "docs/how-to/call-from-any-language.md": ("tritonclient", "http"),
    }.items()
    for name, code in zip(
        names,
        re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL),
        strict=True,
    )
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_shown_python_runs(
    triton: Triton, photos: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    with Image.open(io.BytesIO(photos["coffee"])) as photo:
        photo.convert("RGB").save(tmp_path / "street.jpg")
    assert "localhost:800" in SNIPPETS[name]
    code = (
        SNIPPETS[name]
        .replace("localhost:8001", triton.grpc_url)
        .replace("http://localhost:8000", triton.http_url)
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if name == "draw":
        with Image.open(tmp_path / "annotated.png") as annotated:
            assert annotated.size == (600, 400)
    else:
        assert done.stdout.strip()


def test_the_tutorial_runs(demo_assets: dict[str, Path], tmp_path: Path) -> None:
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
