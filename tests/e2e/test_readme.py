"""The Python that documents show is run against a server."""

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
