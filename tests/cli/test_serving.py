"""What a command asks: a running server, or a repository of which it starts one."""

from pathlib import Path

import pytest

from boxwise_cli.serving import one_of, served


@pytest.mark.parametrize(("repository", "url"), [(None, None), (Path("models"), "localhost:8001")])
def test_exactly_one_of_both(
    repository: Path | None, url: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        one_of(repository, url)
    assert ended.value.code == 2
    assert (
        capsys.readouterr().err
        == "error: expected a REPO, or the --url of a server, and not both\n"
    )


def test_a_running_server_is_taken_as_it_is() -> None:
    one_of(None, "localhost:8001")
    with served(None, "localhost:8001", None) as server:
        assert server == ("localhost:8001", "boxwise", None, None)
    with served(None, "localhost:8001", "street") as server:
        assert server.pipeline == "street"


@pytest.mark.parametrize(
    ("models", "code", "message"),
    [
        ((), 1, "holds no pipeline; expected a repository that `boxwise export` wrote"),
        (("b_info", "a_info"), 2, "holds a, b; say which with --pipeline"),
    ],
)
def test_a_repository_that_does_not_say_which(
    tmp_path: Path,
    models: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for model in models:
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.pbtxt").touch()
    with pytest.raises(SystemExit) as ended, served(tmp_path, None, None):
        raise AssertionError("nothing is served")
    assert ended.value.code == code
    assert capsys.readouterr().err == f"error: {tmp_path}: {message}\n"
