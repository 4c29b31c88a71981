"""A server may have as many files open as the system lets it, and is not started where those are
too few.
"""

import resource
from collections.abc import Iterator

import pytest
from contract_support.servers import launched

from boxwise_runtime.launcher import LaunchError, files
from boxwise_runtime.launcher.files import ENOUGH, NEEDED, check_open_files, raise_open_files


@pytest.fixture
def few() -> Iterator[int]:
    """This process may have few files open, and could have more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_gets_more_than_its_launcher_uses(few: int, echo_options, infer) -> None:
    with launched(echo_options) as server:
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        assert infer(echo_options, 0, 7) == [0, 7]
    most = few if few != resource.RLIM_INFINITY else ENOUGH
    assert limits == (min(most, ENOUGH), few)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (512, few)


@pytest.mark.parametrize(
    ("limits", "raised"),
    [
        ((1024, 4096), 4096),
        ((1024, 1 << 30), ENOUGH),
        ((1024, resource.RLIM_INFINITY), ENOUGH),
        ((1 << 20, 1 << 30), None),
        ((4096, 4096), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ],
)
def test_a_limit_is_raised_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: int | None
) -> None:
    asked: list[tuple[object, ...]] = []

    def prlimit(*arguments: object) -> tuple[int, int]:
        asked.append(arguments)
        return limits

    monkeypatch.setattr(files.resource, "prlimit", prlimit)
    raise_open_files(7)
    assert [arguments[2] for arguments in asked[1:]] == (
        [] if raised is None else [(raised, limits[1])]
    )


@pytest.mark.parametrize("most", [64, NEEDED - 1])
def test_too_few_are_one_sentence(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(files.resource, "getrlimit", lambda _: (most, most))
    with pytest.raises(
        LaunchError, match=f"^a server may have {most} files open here, and needs {NEEDED} .*ulimit"
    ):
        check_open_files()


@pytest.mark.parametrize("most", [NEEDED, resource.RLIM_INFINITY])
def test_enough_are_enough(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(files.resource, "getrlimit", lambda _: (1, most))
    check_open_files()
