"""The server to measure: a running one, or a repository of which one is started."""

from pathlib import Path

import pytest

from boxwise_perf.endpoint import AmbiguousPipeline, Endpoint, served
from boxwise_runtime.launcher import LaunchError


def test_a_running_server_is_used_as_it_is() -> None:
    with served(None, "localhost:8001", None) as server:
        assert server == Endpoint("localhost:8001", "boxwise", None, None)
    with served(None, "localhost:8001", "street") as server:
        assert server.pipeline == "street"


@pytest.mark.parametrize(
    ("models", "error", "message"),
    [
        ((), LaunchError, "holds no pipeline; expected a repository that `boxwise export` wrote"),
        (("b_info", "a_info"), AmbiguousPipeline, "holds a, b; say which with --pipeline"),
    ],
)
def test_a_repository_without_exactly_one_pipeline(
    tmp_path: Path, models: tuple[str, ...], error: type[Exception], message: str
) -> None:
    for model in models:
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.pbtxt").touch()
    with pytest.raises(error) as caught, served(tmp_path, None, None):
        raise AssertionError("nothing is served")
    assert str(caught.value) == f"{tmp_path}: {message}"


def test_the_start_of_a_server_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a_info").mkdir()
    (tmp_path / "a_info" / "config.pbtxt").write_text("")
    lines: list[str] = []
    with pytest.raises(LaunchError), served(tmp_path, None, None, lines.append):
        raise AssertionError("nothing is served")
    assert lines == [f"starting Triton on {tmp_path}"]
