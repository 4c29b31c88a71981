"""The Dockerfiles: linted by hadolint, and every step that this machine can do done on it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from contract_support.servers import write_repository
from helm_support.chart import CHART, ROOT, TOOLS
from helm_support.dockerfile import Image, read
from helm_support.pod import Ports

from boxwise_runtime.launcher import guard

DEPLOY = ROOT / "deploy"
DOCKERFILES = {"gpu": DEPLOY / "Dockerfile", "cpu": DEPLOY / "Dockerfile.cpu"}


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """deploy/Dockerfile.cpu, every step executed."""
    built = Image(tmp_path_factory.mktemp("cpu"))
    done = built.execute([step for step in read(DOCKERFILES["cpu"]) if step.stage >= 0])
    assert done.count("RUN") == 4
    return built


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """deploy/Dockerfile, every step executed, beside a file that is called as NVIDIA's
    TensorRT is.
    """
    root = tmp_path_factory.mktemp("gpu")
    nvidia = tmp_path_factory.mktemp("nvidia")
    libraries = nvidia / "usr" / "lib" / "x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    for name in ("libnvinfer.so.11", "libnvinfer.so.11.3.0", "libnvinfer_plugin.so.11.3.0"):
        (libraries / name).touch()
    built = Image(root, {"install-tensorrt-bindings / ": f"install-tensorrt-bindings {nvidia} "})
    done = built.execute([step for step in read(DOCKERFILES["gpu"]) if step.stage >= 0])
    assert done.count("RUN") == 3
    return built


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    done = subprocess.run([TOOLS / "hadolint", DOCKERFILES[name]], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_there_and_let_through(name: str) -> None:
    let_through = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for step in read(DOCKERFILES[name]):
        if step.word == "COPY" and "--from" not in step.rest:
            for source in [word for word in step.rest.split() if not word.startswith("--")][:-1]:
                assert (ROOT / source).exists()
                assert source.split("/")[0] in let_through


@pytest.mark.parametrize("name", DOCKERFILES)
def test_bases_are_pinned_and_the_user_is_a_number(name: str) -> None:
    steps = read(DOCKERFILES[name])
    arguments = dict(
        step.rest.split("=") for step in steps if step.word == "ARG" and step.stage < 0
    )
    bases = [step.rest.split()[0] for step in steps if step.word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    filled = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], bases[0])
    assert re.search(r":\d+\.\d+", filled)
    assert [step.rest for step in steps if step.word == "USER"] == ["1000:1000"]


def test_the_triton_is_the_charts() -> None:
    (version,) = [
        step.rest for step in read(DOCKERFILES["gpu"]) if step.rest.startswith("TRITON_VERSION=")
    ]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert version == f"TRITON_VERSION={values['triton']['version']}"


def run(image: Image, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=image.environment, cwd=image.root, capture_output=True, text=True
    )


@pytest.fixture(params=["cpu", "gpu"])
def image(request: pytest.FixtureRequest) -> Image:
    return request.getfixturevalue(request.param)


def test_what_the_chart_calls_is_there(image: Image) -> None:
    home = image.root / "opt" / "boxwise"
    for program in ("python3", "boxwise"):
        found = run(image, "sh", "-c", f"command -v {program}").stdout.strip()
        assert found == str(home / "bin" / program)
    assert run(image, "boxwise", "--help").returncode == 0
    code = "import boxwise_runtime.probe, boxwise, cv2, onnxruntime; print(boxwise.__file__)"
    assert run(image, "python3", "-c", code).stdout.startswith(str(home))


def test_no_build_tools_are_left(image: Image) -> None:
    """Nor sources, nor a pip: what is served cannot install anything."""
    assert not (image.root / "src").exists()
    assert run(image, "python3", "-m", "pip", "--version").returncode != 0
    left = {path.name for path in (image.root / "opt" / "boxwise" / "bin").iterdir()}
    assert not left & {"pip", "pip3", "pytest", "mypy", "gcc"}
    assert run(image, "python3", "-c", "import torch").returncode != 0


def test_engines_can_be_built_where_there_is_a_gpu(gpu: Image) -> None:
    assert (
        "11.3.0"
        in run(
            gpu,
            "python3",
            "-c",
            "import importlib.metadata as m; print(m.version('tensorrt_cu13_bindings'))",
        ).stdout
    )
    answer = run(gpu, "boxwise", "build-engines", "--help")
    assert answer.returncode == 0
    for option in ("--pipeline", "--workspace", "--no-check", "--calibration"):
        assert option in answer.stdout


def test_bindings_need_their_library(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", DEPLOY / "install-tensorrt-bindings", tmp_path, "python3"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no libnvinfer.so under" in done.stderr


class TestCpuServer:
    """The small image's entrypoint serves, and writes nothing where the chart's root is read
    only.
    """

    @pytest.fixture
    def server(self, cpu: Image, tmp_path: Path) -> Iterator[tuple[Ports, dict[str, str]]]:
        repository, ports = write_repository(tmp_path / "dots", "dots"), Ports.free()
        (cpu.root / "tmp").mkdir(exist_ok=True)
        prefix = f"boxwise-image-{ports.http}-"
        process = subprocess.Popen(
            [
                *cpu.entrypoint,
                f"--model-repository={repository}",
                "--disable-auto-complete-config",
                f"--backend-config=python,shm-region-prefix-name={prefix}",
                *(f"--{name}-address=127.0.0.1" for name in ("grpc", "http", "metrics")),
                *(f"--{name}-port={port}" for name, port in vars(ports).items()),
            ],
            env=cpu.environment,
            executable=run(cpu, "sh", "-c", f"command -v {cpu.entrypoint[0]}").stdout.strip(),
            cwd=cpu.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield ports, {"BOXWISE_SERVER_PID": str(process.pid)}
        finally:
            guard.end(process.pid, prefix)
            process.wait()

    def test_it_answers_its_own_probe(
        self, cpu: Image, server: tuple[Ports, dict[str, str]]
    ) -> None:
        ports, pid = server
        before = self.files(cpu)
        probe = ["python3", "-m", "boxwise_runtime.probe", "dots"]
        options = [
            "--http-port",
            str(ports.http),
            "--metrics-port",
            str(ports.metrics),
            "--timeout",
            "5",
        ]
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(
                [*probe, *options], env=cpu.environment | pid, capture_output=True, text=True
            )
            if done.returncode == 0:
                break
            assert time.monotonic() < deadline, done.stdout + done.stderr
            time.sleep(0.3)
        assert self.files(cpu) == before

    def files(self, cpu: Image) -> dict[Path, int]:
        """All but bytecode, which Python tries to keep (a stub hears no PYTHONDONTWRITEBYTECODE)
        and can do without.
        """
        found = (
            path
            for path in (cpu.root / "opt").rglob("*")
            if path.is_file() and path.parent.name != "__pycache__"
        )
        return {path: path.lstat().st_mtime_ns for path in found}
