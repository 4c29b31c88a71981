"""A bare `pip install boxwise` is a light client, and says what else there is."""

import subprocess
import sys
from pathlib import Path

import pytest

from boxwise_release import lock

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "onnx",
    "onnxruntime",
    "opencv-python-headless",
    "torch",
    "nvidia-pytriton",
    "pydantic",
    "typer",
    "psutil",
}
MOST_MEGABYTES = 220  # numpy, grpcio, tritonclient and what it asks for, Pillow, pip itself


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel of this checkout and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    # No hashes, which would ask for one of what pip builds.
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(f"{name}=={version}" for name, version in lock.read("demo")))
    # By the pip of the tests: one of its own takes three seconds to install.
    command = [sys.executable, "-m", "pip", "--python", folder, "install", "--no-compile"]
    options = ["--quiet", "--disable-pip-version-check", "-c", constraints]
    subprocess.run([*command, *options, ROOT], check=True, timeout=280)
    return folder


def run(environment: Path, *command: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [environment / "bin" / program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=environment,
    )


def test_it_brings_nothing_heavy(environment: Path) -> None:
    code = "from importlib.metadata import *; print(*(each.name for each in distributions()))"
    installed = run(environment, "python", "-c", code).stdout.lower().split()
    assert "boxwise" in installed
    assert not HEAVY & set(installed)
    size = sum(path.stat().st_size for path in (environment / "lib").rglob("*") if path.is_file())
    assert size < MOST_MEGABYTES * 1e6


def test_the_client_imports(environment: Path) -> None:
    code = "import boxwise; print(boxwise.__version__, boxwise.Client('localhost:1'))"
    done = run(environment, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert "Client('localhost:1'" in done.stdout


def test_the_command_line_says_what_to_install(environment: Path) -> None:
    done = run(environment, "boxwise", "--help")
    assert done.returncode == 2
    assert done.stderr == 'the command line needs its extra: pip install "boxwise[cli]"\n'


def test_the_stages_are_in_the_wheel(environment: Path) -> None:
    (packages,) = (environment / "lib").glob("python*/site-packages")
    stages = packages / "boxwise_export" / "model_repository"
    assert (stages / "preprocess" / "1" / "model.py").is_file()
    assert (stages / "detector" / "configs" / "tensorrt.pbtxt").is_file()
    assert (packages / "boxwise_export" / "labels" / "coco.txt").is_file()
    assert (packages / "boxwise_eval" / "templates" / "page.html").is_file()
    assert (packages / "boxwise" / "py.typed").is_file()


def test_the_benchmarks_are_not_in_the_wheel(environment: Path) -> None:
    (packages,) = (environment / "lib").glob("python*/site-packages")
    assert (packages / "boxwise_perf").is_dir()
    assert not list(packages.glob("*benchmarks*"))
