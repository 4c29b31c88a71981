"""What all tests share, and which run where: those of the frameworks need an environment of their own."""

from pathlib import Path

import pytest

ELSEWHERE = {
    Path(__file__).parent / "frameworks": "`make test-torch`, in .venv-torch",
    Path(__file__).parent / "fiftyone": "`make test-fiftyone`, in .venv-fiftyone",
    Path(__file__).parent / "helm": "`make test-helm`, with the tools of .venv-helm",
    Path(__file__).parent / "front": "`make test-front`, with the Envoy of .venv-front",
    Path(__file__).parent / "peers": "`make test-peers`, against servers in .venv-peers",
}
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_LEFT_OUT = pytest.StashKey[list[Path]]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = any(Path(arg.partition("::")[0]).resolve().is_relative_to(collection_path) for arg in config.args)
    if collection_path in ELSEWHERE and not asked:
        config.stash.setdefault(_LEFT_OUT, []).append(collection_path)
        return True
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(_LEFT_OUT, []):
        terminalreporter.section("what runs elsewhere")
        for folder in left_out:
            files = len(list(folder.rglob("test_*.py")))
            terminalreporter.line(f"tests/{folder.name}, {files} files: {ELSEWHERE[folder]}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The evaluation data, which is not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no evaluation data: {SHARED_DATA} (COCO photos and yolox_nano) is not on this machine")
    return SHARED_DATA
