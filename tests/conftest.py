"""What all tests share, and which run where: those of the frameworks need an environment of their own."""

from pathlib import Path

import pytest

FRAMEWORKS = Path(__file__).parent / "frameworks"
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_LEFT_OUT = pytest.StashKey[bool]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = any(Path(arg.partition("::")[0]).resolve().is_relative_to(FRAMEWORKS) for arg in config.args)
    if collection_path == FRAMEWORKS and not asked:
        config.stash[_LEFT_OUT] = True
        return True
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash.get(_LEFT_OUT, False):
        files = len(list(FRAMEWORKS.rglob("test_*.py")))
        terminalreporter.section("what runs elsewhere")
        terminalreporter.line(f"tests/frameworks, {files} files: `make test-torch`, in .venv-torch")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The evaluation data, which is not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no evaluation data: {SHARED_DATA} (COCO photos and yolox_nano) is not on this machine")
    return SHARED_DATA
