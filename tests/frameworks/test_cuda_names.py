"""Running a plan needs a GPU and is not tried; that CUDA has the names that it uses is."""

import ast
from pathlib import Path

from cuda.bindings import runtime

import boxwise_export.tensorrt


def test_every_name_of_cuda_is_known() -> None:
    file = Path(boxwise_export.tensorrt.__file__).parent / "execute.py"
    tree = ast.parse(file.read_text())
    asked = [
        (ast.unparse(node.value), node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    ]
    functions = {name for owner, name in asked if owner in ("cuda", "self._cuda")}
    kinds = {name for owner, name in asked if owner == "cuda.cudaMemcpyKind"}
    assert len(functions) >= 8
    assert len(kinds) == 2
    assert {name for name in functions if not hasattr(runtime, name)} == set()
    assert {name for name in kinds if not hasattr(runtime.cudaMemcpyKind, name)} == set()
