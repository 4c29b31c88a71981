"""What all tests share, and which run where: those of the frameworks need an environment of their
own.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from contract_support.once import made_once
from contract_support.trials import Trial

# Machines are shared, and a test that takes long is no defect of what it tests.
hypothesis.settings.register_profile("boxwise", deadline=None)
hypothesis.settings.load_profile("boxwise")

ELSEWHERE = {
    Path(__file__).parent / "frameworks": "`make test-torch`, in .venv-torch",
    Path(__file__).parent / "helm": "`make test-helm`, with the tools of .venv-helm",
    Path(__file__).parent / "front": "`make test-front`, with the Envoy of .venv-front",
    Path(__file__).parent / "proxies": "`make test-proxies`, with nginx, HAProxy, Envoy and Node",
    Path(__file__).parent / "peers": "`make test-peers`, against servers in .venv-peers",
    Path(__file__).parent / "chaos": "`make test-trials`, long by `make soak`",
    Path(__file__).parent / "fuzz": "`make test-trials`, long by `make soak`",
}
# Of tests/e2e, these start servers of their own.
OWN_SERVERS = {
    "test_metrics.py",
    "test_overload.py",
    "test_perf.py",
    "test_privacy.py",
    "test_sdk_causes.py",
    "test_tutorial.py",
}
# After the files that share a server; those at the top need no demo, which the former export.
LONGEST = ("e2e/test_sdk_causes.py", "e2e/test_tutorial.py", "packaging", "e2e", "cli", "export")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SHARED_CASES = SHARED_DATA.with_name("cases")
_LEFT_OUT = pytest.StashKey[list[Path]]()
_FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    trials = parser.getgroup("trials", "tests/chaos and tests/fuzz")
    trials.addoption("--long", action="store_true", help="run the trials in their long form")
    trials.addoption(
        "--hours", type=float, default=1.5, help="how long the soak takes in its long form (1.5)"
    )
    trials.addoption(
        "--figures",
        type=Path,
        metavar="FILE",
        help="add what the trials measure to FILE, a JSON a line",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = []
    # A shell starts what runs in the background with Ctrl-C ignored, and programs inherit that;
    # tests send it to the programs that they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _shares_server(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return folder == "e2e" and name not in OWN_SERVERS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes longest first, so that no worker process has a long file left at the end."""
    tests = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(tests).as_posix()
        if _shares_server(path):
            return 0
        first = (number for number, each in enumerate(LONGEST, 1) if path.startswith(each))
        return next(first, len(LONGEST) + 1)

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Keep the files whose tests share a server in one worker process, as it takes ten seconds of
    CPU to start; and hand files out in the order of `pytest_collection_modifyitems`.
    """
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False

    class ByServer(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "shared" if _shares_server(file.removeprefix("tests/")) else file

    return ByServer(config, log) if config.option.dist == "loadfile" else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = any(
        Path(arg.partition("::")[0]).resolve().is_relative_to(collection_path)
        for arg in config.args
    )
    if collection_path in ELSEWHERE and not asked:
        config.stash.setdefault(_LEFT_OUT, []).append(collection_path)
        return True
    return None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if figures := config.stash[_FIGURES]:
        terminalreporter.section("what was measured")
        for figure in figures:
            terminalreporter.line(figure)
    if left_out := config.stash.get(_LEFT_OUT, []):
        terminalreporter.section("what runs elsewhere")
        for folder in left_out:
            files = len(list(folder.rglob("test_*.py")))
            terminalreporter.line(f"tests/{folder.name}, {files} files: {ELSEWHERE[folder]}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The evaluation data, which is not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(
            f"no evaluation data: {SHARED_DATA} (COCO photos and yolox_nano) is not on this machine"
        )
    return SHARED_DATA


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Inputs that people brought, which are not part of the project."""
    if not SHARED_CASES.is_dir():
        pytest.skip(
            f"no cases: {SHARED_CASES} (small inputs with their right values) is not on "
            "this machine"
        )
    return SHARED_CASES


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `boxwise demo` ran to its end: what it left, and in demo.log what it
    printed. Takes 12 s, most of it the export.
    """

    def run(folder: Path) -> None:
        command = [Path(sys.executable).with_name("boxwise"), "demo"]
        environment = os.environ | {"COLUMNS": "120"}
        with (folder / "demo.log").open("w") as log:
            done = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log)
        assert done.returncode == 0, (folder / "demo.log").read_text()

    return made_once(tmp_path_factory, "demo", run)


@pytest.fixture(scope="session")
def demo_repository(demo: Path) -> Path:
    """The repository of the demo; change a copy of it."""
    return demo / "boxwise-demo" / "repository"


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[str]:
    """Lines for the end of the run: what is measured."""
    return pytestconfig.stash[_FIGURES]


@pytest.fixture
def trial(
    request: pytest.FixtureRequest, figures: list[str], capsys: pytest.CaptureFixture[str]
) -> Iterator[Trial]:
    """This run of this trial; what it measured is said at the end, of one that failed too."""

    def say(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}")
            sys.stdout.flush()

    options = request.config.option
    trial = Trial(request.node.name.removeprefix("test_"), options.long, options.hours, say=say)
    yield trial
    if trial.figures:
        figures.append(trial.line())
        if options.figures:
            with options.figures.open("a") as file:
                file.write(trial.document() + "\n")
