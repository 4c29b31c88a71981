"""Repositories under paths that Triton's line of shell would take apart."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from contract_support.servers import launched
from hypothesis import given
from hypothesis import strategies as st

from boxwise_runtime.launcher import LaunchError, ServerOptions
from boxwise_runtime.launcher.paths import plain
from boxwise_runtime.stub_processes import stubs_of

ODD = ["with space", "žluťoučký 猫", 'it\'s $(here) & "there"', "a;b", os.fsdecode(b"caf\xe9")]


@pytest.mark.parametrize("name", ODD)
def test_it_is_served(
    write_model: Callable[..., Path],
    on_free_ports: Callable[[Path], ServerOptions],
    infer: Callable[..., list[int]],
    nothing_left: Callable[..., None],
    tmp_path: Path,
    name: str,
) -> None:
    repository = tmp_path / name / "repository"
    repository.parent.mkdir()
    write_model().rename(repository)
    options = on_free_ports(repository)
    with launched(options) as server:
        assert infer(options, 0, 7) == [0, 7]
        assert [stub.model for stub in stubs_of(server.pid)] == ["echo"]
        assert server.failure() is None
    nothing_left(options)


def test_with_a_cache_under_such_a_path_too(
    write_model: Callable[..., Path],
    on_free_ports: Callable[[Path], ServerOptions],
    infer: Callable[..., list[int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BOXWISE_CACHE", str(tmp_path / "José García" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options = on_free_ports(write_model())
    with launched(options):
        assert infer(options, 0, 7) == [0, 7]


def test_a_plain_path_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert plain(tmp_path) == tmp_path
    assert plain(Path("models")) == tmp_path / "models"


@given(
    st.text(
        st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=40
    )
)
def test_every_path_has_a_plain_one(name: str) -> None:
    path = Path("/nowhere", name)
    found = plain(path)
    assert re.fullmatch(r"[A-Za-z0-9_./+=,@-]+", str(found))
    assert found == path or found.readlink() == path
    assert plain(path) == found


def test_what_others_can_write_holds_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXWISE_CACHE", str(tmp_path / "a b"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"boxwise-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(
        LaunchError, match=r"cé has characters .* not a folder that only this user can write"
    ):
        plain(tmp_path / "cé")
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(LaunchError, match="not a folder that only this user can write"):
        plain(tmp_path / "cé")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "a b"))
    with pytest.raises(LaunchError, match="set TMPDIR to another"):
        plain(tmp_path / "cé")
