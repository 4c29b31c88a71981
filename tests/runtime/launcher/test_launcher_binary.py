import os
import sys
from pathlib import Path

import pytest

from boxwise_runtime.launcher import LaunchError, ServerOptions, binary
from boxwise_runtime.launcher.binary import Bundle, bundle_for, check_bundle, find_bundle, locate
from boxwise_runtime.targets import ONNXRUNTIME, TENSORRT, Target


def fake_bundle(folder: Path, stub: str | None) -> Bundle:
    """A bundle whose stub for this Python is a shell script."""
    bundle = Bundle(folder / "pytriton")
    if stub is not None:
        bundle.stub.parent.mkdir(parents=True)
        bundle.stub.write_text(f"#!/bin/sh\n{stub}\n")
        bundle.stub.chmod(0o755)
    return bundle


def test_the_bundled_server_is_found_without_importing_pytriton(tmp_path: Path) -> None:
    found = locate(ServerOptions(tmp_path))
    assert "pytriton" not in sys.modules
    assert os.access(found.program, os.X_OK)
    assert found.environment["PATH"].split(os.pathsep)[0] == str(Path(sys.prefix) / "bin")


def test_its_backend_directory_is_made_once_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXWISE_CACHE", str(tmp_path / "cache"))

    def backend() -> Path:
        argument, _ = locate(ServerOptions(tmp_path)).arguments
        return Path(argument.removeprefix("--backend-directory=")) / "python"

    folder = backend()
    names = {"libtriton_python.so", "triton_python_backend_utils.py", "triton_python_backend_stub"}
    assert {path.name for path in folder.iterdir()} == names
    made = folder.stat().st_ino
    assert backend() == folder
    assert folder.stat().st_ino == made
    (folder / "triton_python_backend_stub").unlink()
    assert {path.name for path in backend().iterdir()} == names
    (folder / "libtriton_python.so").unlink()
    (folder / "libtriton_python.so").symlink_to(tmp_path / "removed")
    assert (backend() / "libtriton_python.so").exists()
    assert {path.name for path in folder.iterdir()} == names


@pytest.mark.parametrize("target", [ONNXRUNTIME, TENSORRT], ids=str)
def test_a_target_without_backend_says_where_it_can_be_served(
    tmp_path: Path, target: Target
) -> None:
    with pytest.raises(LaunchError, match=rf"no {target} backend: .*container.* --server"):
        bundle_for(target)
    assert locate(ServerOptions(tmp_path, target=target, server=Path("sh"))).program.name == "sh"


def test_numpy_2_is_refused_since_inputs_would_be_wrong_silently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(binary.importlib.metadata, "version", lambda name: {"numpy": "2.3.1"}[name])
    with pytest.raises(
        LaunchError,
        match=r'numpy 2\.3\.1 is installed, .* silently repeats .*: pip install "numpy<2"',
    ):
        check_bundle(find_bundle())


def test_without_pytriton_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytriton", None)
    with pytest.raises(LaunchError, match=r'pip install "boxwise\[server\]"'):
        find_bundle()


def test_a_python_without_its_shared_library(tmp_path: Path) -> None:
    says = (
        "stub: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared "
        "object file: No such"
    )
    with pytest.raises(
        LaunchError, match=r"without its shared library libpython3\.11\.so\.1\.0"
    ) as error:
        check_bundle(fake_bundle(tmp_path, f"echo '{says}' >&2; exit 127"))
    assert "\n" not in str(error.value)


def test_another_missing_library_is_named(tmp_path: Path) -> None:
    says = "stub: error while loading shared libraries: libz.so.1: cannot open shared object file"
    with pytest.raises(LaunchError, match=r"cannot find the library libz\.so\.1"):
        check_bundle(fake_bundle(tmp_path, f"echo '{says}' >&2; exit 127"))


def test_a_python_that_triton_has_no_stub_for(tmp_path: Path) -> None:
    with pytest.raises(
        LaunchError, match=r"no Python backend for Python .*: use Python 3\.11 or 3\.12"
    ):
        check_bundle(fake_bundle(tmp_path, None))


@pytest.mark.parametrize(("libc", "has"), [(("glibc", "2.31"), "has 2.31"), (("", ""), "has none")])
def test_an_old_or_no_glibc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libc: tuple[str, str], has: str
) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: libc)
    with pytest.raises(LaunchError, match=rf"needs glibc 2\.35 or newer, and this system {has}"):
        check_bundle(fake_bundle(tmp_path, "exit 1"))


def test_a_stub_that_loads_is_fine(tmp_path: Path) -> None:
    check_bundle(
        fake_bundle(tmp_path, "echo 'Expected 9 arguments, found 1 arguments.' >&2; exit 1")
    )
