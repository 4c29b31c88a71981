from pathlib import Path

import pytest

from boxwise_runtime.cache import TAG, CacheError, cache_folder, cache_location, cache_size, clear


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOXWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "/home/me/.cache/boxwise"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/boxwise"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/boxwise"),
        ({"XDG_CACHE_HOME": "/x", "BOXWISE_CACHE": "/own"}, "/own"),
        ({"BOXWISE_CACHE": "~/own"}, "/home/me/own"),
    ],
)
def test_where_it_is(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("BOXWISE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    assert cache_location() == Path(expected)


def test_looking_makes_nothing(location: Path) -> None:
    assert cache_size(cache_location()) == 0
    assert clear(location) == 0
    assert not location.exists()


def test_it_is_made_marked_and_cleared(location: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("!")
    assert cache_folder() == cache_folder() == location
    (location / "models").mkdir()
    (location / "models" / "weights").write_bytes(b"x" * 1000)
    (location / "link").symlink_to(outside)
    tag = (location / TAG).stat().st_size
    assert 1000 + tag <= cache_size(location) < 1100 + tag + len(str(outside))
    assert clear(location) >= 1000
    assert not location.exists()
    assert (outside / "precious").read_text() == "!"
    assert cache_folder() == location


def test_an_empty_folder_may_be_taken_and_a_full_one_not(location: Path) -> None:
    location.mkdir()
    cache_folder()
    (location / TAG).unlink()
    (location / "letters").write_text("not ours")
    with pytest.raises(
        CacheError, match=r"cache holds files that are not boxwise's: set BOXWISE_CACHE"
    ):
        cache_folder()
    with pytest.raises(CacheError, match=r"was not made by boxwise .*: nothing was deleted"):
        clear(location)
    assert (location / "letters").exists()


def test_another_programs_tag_is_not_ours(location: Path) -> None:
    location.mkdir()
    (location / TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n# pip's\n")
    with pytest.raises(CacheError, match=r"nothing was deleted"):
        clear(location)


def test_a_folder_that_cannot_be_made_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BOXWISE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match=r"cannot be used \(Not a directory\): set BOXWISE_CACHE"):
        cache_folder()
