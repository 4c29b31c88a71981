"""What the documents show is run: the Python of the README against the server, the commands against
their help.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from contract_support.calls import Triton
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "docs" / "cli.md", ROOT / "docs" / "perf.md")
}
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
# `boxwise COMMAND ...` in a code block, or between backticks.
SHOWN = sorted(
    {
        (match.group(1), option)
        for text in DOCUMENTS.values()
        for match in re.finditer(
            r"(?:^|`)boxwise (perf [a-z]+|[a-z-]+)([^`\n#]*)", text, re.MULTILINE
        )
        for option in (re.findall(r"--[a-z0-9-]+", match.group(2)) or [""])
    }
)


def boxwise(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("boxwise")), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={"COLUMNS": "200", "PATH": ""}
    )


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["sdk", "image", "tritonclient", "http"])
def test_the_readme_s_python_runs(
    triton: Triton, photos: dict[str, bytes], tmp_path: Path, snippet: str
) -> None:
    with Image.open(io.BytesIO(photos["coffee"])) as photo:
        photo.convert("RGB").save(tmp_path / "street.jpg")
    assert "localhost:800" in snippet
    code = snippet.replace("localhost:8001", triton.grpc_url).replace(
        "http://localhost:8000", triton.http_url
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if "draw()" in snippet:
        with Image.open(tmp_path / "annotated.png") as annotated:
            assert annotated.size == (600, 400)
    else:
        assert done.stdout.strip()


def test_every_command_is_documented() -> None:
    listed = set(re.findall(r"│ (\w[\w-]*)  ", boxwise("--help").stdout))
    assert listed == {command.split()[0] for command, _ in SHOWN}


@pytest.mark.parametrize(("command", "option"), SHOWN)
def test_a_shown_command_and_its_options_exist(command: str, option: str) -> None:
    done = boxwise(*command.split(), "--help")
    assert done.returncode == 0
    assert option in done.stdout


def test_shown_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make (\w+)|`make (\w+)`", README, re.MULTILINE))
    assert targets
    for target in {first or second for first, second in targets}:
        assert f"\n{target}:" in makefile
