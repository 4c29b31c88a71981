"""What differs between two revisions of a pipeline."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from boxwise_export.repository.manifest import Revision


@dataclass(frozen=True)
class Difference:
    """The difference between two revisions.

    Attributes:
        models: name -> the files that differ; all if only one revision has the model.
        file: lines of a unified diff of the pipeline files.
        facts: a source's digest, a package's version, a figure -> its two values.
    """

    models: Mapping[str, tuple[str, ...]]
    file: tuple[str, ...]
    facts: Mapping[str, tuple[Any, Any]]

    @property
    def equal(self) -> bool:
        """Whether both serve the same models; the software may differ."""
        return not self.models

    def document(self) -> dict[str, Any]:
        """Return the difference as JSON types."""
        return {"equal": self.equal, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """Return the difference as lines of text."""
        if self.equal:
            yield "the models are the same"
        for name, files in self.models.items():
            yield f"{name}: {', '.join(files)}"
        yield from self.file
        for fact, (one, other) in self.facts.items():
            yield f"{fact}: {_said(one)} -> {_said(other)}"


def compare(one: Revision, other: Revision) -> Difference:
    """Compare models, sources and measurements of two revisions."""
    models = {}
    for name in sorted({*one.digests, *other.digests}):
        before, after = one.digests.get(name, {}), other.digests.get(name, {})
        if files := sorted(
            path for path in {*before, *after} if before.get(path) != after.get(path)
        ):
            models[name] = tuple(files)
    lines = difflib.unified_diff(
        one.file.splitlines(),
        other.file.splitlines(),
        "the pipeline file",
        "the pipeline file",
        n=1,
        lineterm="",
    )
    before_facts, after_facts = _facts(one), _facts(other)
    facts = {
        name: (before_facts.get(name), after_facts.get(name))
        for name in sorted({*before_facts, *after_facts})
        if before_facts.get(name) != after_facts.get(name)
    }
    return Difference(models, tuple(lines), facts)


def _facts(revision: Revision) -> dict[str, Any]:
    """Return the other facts of a revision, flat."""
    said = {
        "precision": revision.precision,
        "software": revision.software,
        "accuracy": revision.accuracy,
    }
    said |= {name: source.model_dump() for name, source in revision.sources.items()}
    if revision.parity:
        said |= {
            f"parity of {step['part']} {step['name']}": step["figures"]
            for step in revision.parity["steps"]
        }
    return dict(_flat("", said))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix} {key}".strip(), inner)
    elif value is not None:
        yield prefix, value


def _said(value: Any) -> str:
    return (
        "nothing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    )
