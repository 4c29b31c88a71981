import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main
from contract_support.command import boxwise
from contract_support.servers import BOXWISE
from PIL import Image
from typer.testing import CliRunner

from boxwise.testing import FakeServer
from boxwise_cli.app import app
from boxwise_cli.exits import fail, needs, reported

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("absent", ["typer", "rich"])
def test_without_its_extra_it_says_what_to_install(absent: str) -> None:
    code = f"import sys; sys.modules[{absent!r}] = None; from boxwise_cli.entry import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'the command line needs its extra: pip install "boxwise[cli]"\n'


def test_version() -> None:
    """Of the program, as it is installed."""
    done = subprocess.run([BOXWISE, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"boxwise {version('boxwise')}\n")


def test_every_command_is_in_the_help_and_has_its_own() -> None:
    listed = CliRunner().invoke(app, ["--help"])
    assert listed.exit_code == 0
    assert len(COMMANDS) == 16
    for command in COMMANDS:
        assert f" {command} " in listed.output
        own = CliRunner().invoke(app, [command, "--help"], prog_name="boxwise")
        assert own.exit_code == 0
        assert f"boxwise {command} [OPTIONS]" in own.output


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["serve"], ["serve", "repo", "--no-such-option"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    done = boxwise(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["cache"], ["--help"], ["perf", "--help"]])
def test_nothing_heavy_is_imported_for_the_help_or_for_another_command(
    arguments: list[str],
) -> None:
    code = (
        f"import sys; from boxwise_cli.app import app; app({arguments}, standalone_mode=False); "
        "heavy = ('numpy', 'PIL', 'grpc', 'tritonclient', 'google.protobuf', 'onnx', "
        "'onnxruntime', 'cv2', 'torch', "
        "'yaml', 'matplotlib', 'psutil', 'boxwise'); print([name for name in heavy if name "
        "in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_printed_on_an_ascii_terminal(command: str) -> None:
    done = boxwise(command, "--help", encoding="ascii")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_what_is_said_and_answered_is_printed_on_an_ascii_terminal(tmp_path: Path) -> None:
    """Names of classes, of labels and of files that ASCII lacks, one of them no UTF-8 at all."""
    photo, broken = tmp_path / "straße.png", tmp_path / os.fsdecode(b"caf\xe9.jpg")
    Image.new("RGB", (32, 32)).save(photo)
    broken.write_text("no image")
    with FakeServer(labels=["Tasse", "Käse 🧀"], classifiers={"art": ["Gruyère"]}) as server:
        server.find("Käse 🧀", (1, 2, 3, 4), 0.75, art={"Gruyère": 0.5})
        command = ("predict", "--url", server.url, photo, broken)
        table = boxwise(*command, encoding="ascii")
        answer = boxwise(*command, "--json", encoding="ascii")
    assert (table.returncode, answer.returncode) == (1, 1)
    for done in (table, answer):
        assert "Traceback" not in done.stderr
        assert "caf\\udce9.jpg: " in done.stderr.replace("\n", "")
    assert "K\\u00e4se" in table.stdout
    (found,) = json.loads(answer.stdout)
    assert found["file"] == str(photo)
    assert found["detections"][0]["class_name"] == "Käse 🧀"
    assert found["detections"][0]["labels"]["art"][0]["name"] == "Gruyère"


def test_fail_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fail("no such thing", code=3)
    assert ended.value.code == 3
    with pytest.raises(SystemExit) as ended, reported(KeyError, OSError):
        raise OSError("it broke")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: no such thing\nerror: it broke\n"
    with pytest.raises(ValueError, match="a bug"), reported(KeyError):
        raise ValueError("a bug")


def test_needs_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, needs("export"):
        import nothing_of_that_name  # type: ignore[import-not-found]  # noqa: F401
    assert ended.value.code == 1
    assert capsys.readouterr().err.endswith('nothing_of_that_name, of an extra that is not installed: pip install ' '"boxwise[export]"\n')  # fmt: skip # noqa: E501
    with pytest.raises(ModuleNotFoundError), needs("export"):
        import boxwise_export.no_such_module  # type: ignore[import-not-found]  # noqa: F401


def test_an_interrupt_ends_with_130(tmp_path: Path) -> None:
    """Any command that does not handle Ctrl-C itself; here one that hangs while it is being
    imported.
    """
    code = (
        "import sys, types, os, signal; module = types.ModuleType('boxwise_cli.doctor')\n"
        "def doctor() -> None:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "module.doctor = doctor; sys.modules['boxwise_cli.doctor'] = module\n"
        "sys.argv = ['boxwise', 'doctor']; from boxwise_cli.entry import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
