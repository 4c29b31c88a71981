"""What a user can rely on: the names in `__all__`, and an import that costs little."""

from __future__ import annotations

import subprocess
import sys
import types

import boxwise


def test_all_is_the_real_surface() -> None:
    public = {
        name
        for name, value in vars(boxwise).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(boxwise.__all__)
    assert boxwise.__all__ == sorted(boxwise.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert boxwise.__version__ == version("boxwise")


def test_every_public_name_is_documented() -> None:
    for name in boxwise.__all__:
        if name != "ImageLike":
            assert getattr(boxwise, name).__doc__, name


def test_the_import_leaves_heavy_parts_for_when_they_are_needed() -> None:
    heavy = ("tritonclient.grpc", "PIL.Image", "importlib.metadata", "asyncio", "typer", "cv2")
    code = f"import sys, boxwise; print(*(name for name in {heavy!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == ["asyncio"]  # grpc itself
