"""Every name that boxwise takes from TensorRT is one of 10.16 and of 11.4.

The lists were read off the bindings of both (`tensorrt-cu12-bindings` 10.16.1 and
`tensorrt-cu13-bindings` 11.4.0), loaded over empty libraries.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import boxwise_export.tensorrt

API = Path(__file__).parent / "api"
SOURCES = Path(boxwise_export.tensorrt.__file__).parent
# What the variables of these modules hold. `check.py` is for TensorRT-RTX alone, and is run with
# it.
HELD = {
    "engine.py": {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "config": "IBuilderConfig",
        "optimization": "IOptimizationProfile",
        "error": "ParserError",
        "config.get_timing_cache()": "ITimingCache",
        "Log": "ILogger",
        "Monitor": "IProgressMonitor",
    },
    "execute.py": {
        "engine": "ICudaEngine",
        "context": "IExecutionContext",
        "self._runtime": "Runtime",
    },
}


def names_in(file: str) -> set[str]:
    """`trt.A.b` as "A.b", and what is asked of a variable or written for a callback, by the class
    that it is of.
    """
    tree = ast.parse((SOURCES / file).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner, _, name = ast.unparse(node).rpartition(".")
            if owner in HELD[file]:
                found.add(f"{HELD[file][owner]}.{name}")
            for prefix in ("trt.", "self._trt."):
                if ast.unparse(node).startswith(prefix) and not name.startswith("__"):
                    found.add(ast.unparse(node).removeprefix(prefix))
        if isinstance(node, ast.ClassDef) and node.name in HELD[file]:
            methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
            found |= {
                f"{HELD[file][node.name]}.{name}" for name in methods if not name.startswith("_")
            }
    return found


@pytest.mark.parametrize("version", ["10.16", "11.4"])
@pytest.mark.parametrize("file", HELD)
def test_every_name_is_known(file: str, version: str) -> None:
    # Of the package's own __init__.py.
    known = set((API / f"{version}.txt").read_text().split()) | {"nptype"}
    names = names_in(file)
    owners = {name.partition(".")[0] for name in names}
    assert set(HELD[file].values()) - owners <= {"INetworkDefinition"}, (
        "a variable was renamed: correct HELD"
    )
    assert {name for name in names if not name.startswith("_")} - known == set()


def test_names_that_11_removed_are_found() -> None:
    newer = (API / "11.4.txt").read_text().split()
    older = (API / "10.16.txt").read_text().split()
    assert "BuilderFlag.FP16" in older
    assert "BuilderFlag.FP16" not in newer
