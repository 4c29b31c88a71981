"""What differs between two revisions."""

from typing import Any

from boxwise_export.repository.diff import compare
from boxwise_export.repository.manifest import Provenance, Revision


def revision(**changes: Any) -> Revision:
    source = Provenance(weights="a.onnx", sha256="0", origin="ONNX file")
    parity = {"steps": [{"part": "detector", "name": "outputs", "figures": {"distance": 1e-6}}]}
    said: dict[str, Any] = {
        "number": 1,
        "published": "2026-01-01",
        "precision": "fp32",
        "models": {"a": 1},
        "digests": {"a": {"x": "0"}},
        "sources": {"detector": source},
        "file": "name: a\n",
        "software": {"torch": None},
        "parity": parity,
    }
    return Revision(**(said | changes))


def test_nothing() -> None:
    difference = compare(revision(), revision(number=2, published="2027-01-01", models={"a": 2}))
    assert difference.equal
    assert list(difference.lines()) == ["the models are the same"]
    assert difference.document() == {"equal": True, "models": {}, "file": (), "facts": {}}


def test_everything() -> None:
    other = revision(
        precision="fp16",
        digests={"a": {"x": "1", "y": "0"}, "b": {"z": "0"}},
        sources={
            "detector": Provenance(weights="b.onnx", sha256="0", origin="ONNX file", licence="MIT")
        },
        file="name: b\n",
        software={"torch": "2.14"},
        parity=None,
        accuracy={"map": 0.34241},
    )
    assert list(compare(revision(), other).lines()) == [
        "a: x, y",
        "b: z",
        "--- the pipeline file",
        "+++ the pipeline file",
        "@@ -1 +1 @@",
        "-name: a",
        "+name: b",
        "accuracy map: nothing -> 0.34241",
        "detector licence: nothing -> MIT",
        "detector weights: a.onnx -> b.onnx",
        "parity of detector outputs distance: 1e-06 -> nothing",
        "precision: fp32 -> fp16",
        "software torch: nothing -> 2.14",
    ]
