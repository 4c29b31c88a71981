import json
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from boxwise_cli import doctor as module
from boxwise_cli.app import app
from boxwise_cli.doctor import examine, missing


def table(monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any]) -> str:
    monkeypatch.setattr(module, "examine", lambda: facts)
    monkeypatch.setenv("COLUMNS", "300")
    return CliRunner().invoke(app, ["doctor"]).output


def test_this_installation_can_serve() -> None:
    """The tests need the extra `server`, so it does."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    facts = json.loads(done.output)
    assert done.exit_code == 0
    assert facts["can_serve"] is True
    assert facts["targets"]["embedded"] == {"servable": True, "problem": None}
    assert "container" in facts["targets"]["tensorrt"]["problem"]
    assert facts["triton"] == {"version": "2.51.0", "nvidia_pytriton": "0.7.0"}
    assert facts["python"]["executable"] == sys.executable
    assert facts["extras"]["server"] == {"missing": []}
    assert "CPUExecutionProvider" in facts["onnxruntime"]["providers"]
    assert facts["shared_memory"]["bytes"] >= facts["shared_memory"]["free_bytes"] > 0


def test_the_keys_of_json_are_stable() -> None:
    assert list(examine()) == [
        "can_serve",
        "boxwise",
        "python",
        "extras",
        "triton",
        "targets",
        "onnxruntime",
        "gpu",
        "cache",
        "shared_memory",
    ]


def test_without_triton_it_says_what_to_install_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pytriton", None)
    monkeypatch.setenv("COLUMNS", "300")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    row = next(line for line in done.output.splitlines() if "serve embedded" in line)
    assert "!!" in row
    assert 'pip install "boxwise[server]"' in row


@pytest.mark.parametrize("absent", ["onnxruntime", "cv2"])
def test_without_what_the_stages_import_it_cannot_serve(
    monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    facts = examine()
    assert facts["can_serve"] is False
    assert (
        facts["targets"]["embedded"]["problem"]
        == f'the stages need {absent}: pip install "boxwise[server]"'
    )


def test_the_table_warns_of_little_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = examine()
    facts["shared_memory"] = {"bytes": 67_108_864, "free_bytes": 67_000_000, "enough": False}
    row = next(line for line in table(monkeypatch, facts).splitlines() if "/dev/shm" in line)
    assert "!!" in row
    assert "67.1 MB, 67.0 MB free" in row
    assert "--shm-size" in row
    assert "mount it" in table(monkeypatch, facts | {"shared_memory": None})


def test_the_table_of_a_bare_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = examine() | {
        "onnxruntime": None,
        "gpu": {"cuda_driver": "12.6"},
        "triton": {"version": None, "nvidia_pytriton": None},
        "extras": {"export": {"missing": ["onnx", "pydantic"]}},
    }
    shown = table(monkeypatch, facts)
    assert "for CUDA 12.6" in shown
    assert "without onnx, pydantic" in shown
    assert 'pip install "boxwise[export]"' in shown


def test_missing_packages_of_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class Metadata:
        def get_all(self, _: str) -> list[str]:
            return [
                "numpy>=1.24",
                "typer>=0.12; extra == 'cli'",
                'no-such_thing[fast]>=2; python_version > "3" and extra == "cli"',
                "a-gone>=1; extra == 'server'",
                "boxwise[cli,server]; extra == 'demo'",
                "other-gone; extra == 'demo'",
            ]

    monkeypatch.setattr(module, "metadata", lambda _: Metadata())
    assert missing("perf") == []
    assert missing("cli") == ["no-such_thing"]
    assert missing("demo") == ["a-gone", "no-such_thing", "other-gone"]
