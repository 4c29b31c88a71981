"""What a user can rely on: the names in `__all__`, and an import that costs little."""

from __future__ import annotations

import inspect
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


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert boxwise.__version__ == version("boxwise")


def test_every_public_name_is_documented() -> None:
    for name in set(boxwise.__all__) - {"ImageLike", "Transfer"}:
        kind = getattr(boxwise, name)
        assert kind.__doc__, name
        for method, value in vars(kind).items():
            if not method.startswith("_") and inspect.isfunction(value):
                assert value.__doc__, f"{name}.{method}"


def test_both_clients_have_the_same_surface() -> None:
    def surface(kind: type) -> dict[str, inspect.Signature]:
        methods = {name: each for name, each in vars(kind).items() if inspect.isfunction(each)}
        public = {
            name: each
            for name, each in methods.items()
            if not name.startswith("_") or name == "__init__"
        }
        return {name: inspect.signature(each) for name, each in public.items()}

    ours, theirs = surface(boxwise.Client), surface(boxwise.AsyncClient)
    assert ours.keys() == theirs.keys()
    for name, signature in ours.items():
        parameters, others = signature.parameters.values(), theirs[name].parameters.values()
        wider = {"images"}  # of predict_many: AsyncClient takes asynchronous iterables too
        assert [(each.name, each.kind, each.default) for each in parameters] == [
            (each.name, each.kind, each.default) for each in others
        ], name
        assert [each.annotation for each in parameters if each.name not in wider] == [
            each.annotation for each in others if each.name not in wider
        ], name


def test_the_import_leaves_heavy_parts_for_when_they_are_needed() -> None:
    heavy = (
        "grpc",
        "tritonclient.grpc",
        "google.protobuf",
        "PIL.Image",
        "importlib.metadata",
        "typer",
        "cv2",
        "av",
    )
    code = f"import sys, boxwise; print(*(name for name in {heavy!r} if name in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert found == []
